//! Why a text is no filter.

/// A text that is not a filter, with the place where it stops being one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter `{filter}`, column {column}: {problem}")]
pub struct FilterError {
    /// The text, shortened.
    pub filter: String,
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
}

impl FilterError {
    pub(crate) fn new(filter: &str, column: usize, problem: impl Into<String>) -> Self {
        Self { filter: filter.chars().take(160).collect(), column, problem: problem.into() }
    }
}
