//! Which way of showing progress the user asked for, and which one they get.

use std::str::FromStr;

/// What may be asked for with `--progress` or `BUILDKIT_PROGRESS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A screen on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines, one per event.
    Plain,
    /// A screen that is redrawn; an error where there is no terminal.
    Tty,
    /// JSON, one line per batch of events.
    RawJson,
    /// Nothing.
    Quiet,
}

/// A mode that no longer depends on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Lines.
    Plain,
    /// A screen.
    Tty,
    /// JSON.
    RawJson,
    /// Nothing.
    Quiet,
}

/// The mode cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ModeError {
    /// No such mode.
    #[error("invalid progress mode {0:?}: use auto, plain, tty, rawjson or quiet")]
    Unknown(String),
    /// A screen needs a terminal.
    #[error("progress mode tty needs a terminal on standard error: use plain")]
    NoTerminal,
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text {
            "auto" | "" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "tty" => Ok(Self::Tty),
            "rawjson" => Ok(Self::RawJson),
            "quiet" | "none" => Ok(Self::Quiet),
            other => Err(ModeError::Unknown(other.to_owned())),
        }
    }
}

impl Mode {
    /// Decides, knowing whether the output is a terminal.
    ///
    /// # Errors
    ///
    /// [`ModeError::NoTerminal`] if a screen was demanded and there is none.
    pub(crate) fn choose(self, terminal: bool) -> Result<Chosen, ModeError> {
        match self {
            Self::Auto if terminal => Ok(Chosen::Tty),
            Self::Auto | Self::Plain => Ok(Chosen::Plain),
            Self::Tty if terminal => Ok(Chosen::Tty),
            Self::Tty => Err(ModeError::NoTerminal),
            Self::RawJson => Ok(Chosen::RawJson),
            Self::Quiet => Ok(Chosen::Quiet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_follows_the_terminal() {
        assert_eq!(Mode::Auto.choose(true), Ok(Chosen::Tty));
        assert_eq!(Mode::Auto.choose(false), Ok(Chosen::Plain));
        assert_eq!(Mode::Tty.choose(false), Err(ModeError::NoTerminal));
        assert_eq!("loud".parse::<Mode>(), Err(ModeError::Unknown("loud".into())));
    }
}
