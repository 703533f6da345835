//! What is wrong with a Dockerfile: the words of the reference frontend and the lines they are about.

use crate::lines::Lines;

/// A mistake in a Dockerfile.
///
/// The message is the reference's, to the letter, as tools match on it. Each place was added by one
/// reader on the way out, the innermost first; every one becomes a source of the error that travels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// Where, innermost first; empty if the mistake has no place in the file.
    pub places: Vec<Lines>,
}

impl Mistake {
    /// A mistake of which the place is not known yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), places: Vec::new() }
    }

    /// Adds an outer place.
    #[must_use]
    pub fn at(mut self, lines: Lines) -> Self {
        self.places.push(lines);
        self
    }

    /// Puts words and a colon in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}
