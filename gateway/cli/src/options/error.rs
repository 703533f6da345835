//! What is wrong with an option.

/// An option that cannot be understood: the flag, the text, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}{}: {reason}", text.as_ref().map_or(String::new(), |text| format!(" {text:?}")))]
pub(crate) struct OptionError {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What was given; none if the flag takes nothing.
    pub text: Option<String>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl OptionError {
    /// An error about `text` given to `flag`.
    pub(crate) fn new(flag: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self { flag, text: Some(text.to_owned()), reason: reason.into() }
    }

    /// An error about a flag that takes nothing.
    pub(crate) fn of_flag(flag: &'static str, reason: impl Into<String>) -> Self {
        Self { flag, text: None, reason: reason.into() }
    }
}
