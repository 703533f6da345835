//! What is wrong with an option.

/// An option that cannot be understood: the flag, the text, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {text:?}: {reason}")]
pub(crate) struct OptionError {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What was given.
    pub text: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl OptionError {
    /// An error about `text` given to `flag`.
    pub(crate) fn new(flag: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self { flag, text: text.to_owned(), reason: reason.into() }
    }
}
