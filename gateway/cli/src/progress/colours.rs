//! Which colour means what, as `BUILDKIT_COLORS` and `NO_COLOR` have it.
//!
//! Colours only repeat what the text says; nothing is told by colour alone.

use crossterm::style::Color;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// At work, or of no state.
    Normal,
    /// Ended well.
    Done,
    /// Stopped.
    Canceled,
    /// Failed.
    Error,
    /// Worth knowing.
    Warning,
}

/// A colour for each tone; `None` leaves the terminal's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Palette {
    done: Option<Color>,
    canceled: Option<Color>,
    error: Option<Color>,
    warning: Option<Color>,
}

/// A part of `BUILDKIT_COLORS` that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("BUILDKIT_COLORS: {field:?} is not of the form run|cancel|error|warning=colour or R,G,B")]
pub(crate) struct ColourError {
    /// The part.
    pub field: String,
}

const NAMES: &[(&str, Color)] = &[
    ("black", Color::Black),
    ("red", Color::DarkRed),
    ("green", Color::DarkGreen),
    ("yellow", Color::DarkYellow),
    ("blue", Color::DarkBlue),
    ("magenta", Color::DarkMagenta),
    ("cyan", Color::DarkCyan),
    ("white", Color::Grey),
    ("light-black", Color::DarkGrey),
    ("light-red", Color::Red),
    ("light-green", Color::Green),
    ("light-yellow", Color::Yellow),
    ("light-blue", Color::Blue),
    ("light-magenta", Color::Magenta),
    ("light-cyan", Color::Cyan),
    ("light-white", Color::White),
];

impl Default for Palette {
    fn default() -> Self {
        Self {
            done: Some(Color::DarkBlue),
            canceled: Some(Color::DarkYellow),
            error: Some(Color::DarkRed),
            warning: Some(Color::DarkYellow),
        }
    }
}

impl Palette {
    /// No colour at all.
    pub(crate) const MONOCHROME: Self =
        Self { done: None, canceled: None, error: None, warning: None };

    /// The palette the environment asks for, and what of it was not understood.
    pub(crate) fn from_environment(
        colours: Option<&str>,
        no_colour: Option<&str>,
    ) -> (Self, Vec<ColourError>) {
        if no_colour.is_some_and(|value| !value.is_empty()) {
            return (Self::MONOCHROME, Vec::new());
        }
        let mut palette = Self::default();
        let mut errors = Vec::new();
        for field in colours.unwrap_or("").split(':').filter(|field| !field.is_empty()) {
            if palette.set(field).is_none() {
                errors.push(ColourError { field: field.to_owned() });
            }
        }
        (palette, errors)
    }

    fn set(&mut self, field: &str) -> Option<()> {
        let (tone, colour) = field.split_once('=')?;
        let colour = Some(parse_colour(colour)?);
        match tone {
            "run" => self.done = colour,
            "cancel" => self.canceled = colour,
            "error" => self.error = colour,
            "warning" => self.warning = colour,
            _ => return None,
        }
        Some(())
    }

    /// The colour of a tone.
    pub(crate) fn colour(&self, tone: Tone) -> Option<Color> {
        match tone {
            Tone::Normal => None,
            Tone::Done => self.done,
            Tone::Canceled => self.canceled,
            Tone::Error => self.error,
            Tone::Warning => self.warning,
        }
    }
}

fn parse_colour(text: &str) -> Option<Color> {
    if let Some((_, colour)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Some(*colour);
    }
    let mut parts = text.split(',').map(|part| part.trim().parse::<u8>().ok());
    let (r, g, b) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(Color::Rgb { r, g, b })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_come_from_the_environment() {
        let (palette, errors) = Palette::from_environment(
            Some("run=green:cancel=255,165,0:shout=red:error=pink"),
            None,
        );
        assert_eq!(palette.colour(Tone::Done), Some(Color::DarkGreen));
        assert_eq!(palette.colour(Tone::Canceled), Some(Color::Rgb { r: 255, g: 165, b: 0 }));
        assert_eq!(palette.colour(Tone::Error), Some(Color::DarkRed));
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["shout=red", "error=pink"]);
    }

    #[test]
    fn no_color_wins() {
        let (palette, _) = Palette::from_environment(Some("run=green"), Some("1"));
        assert_eq!(palette, Palette::MONOCHROME);
    }
}
