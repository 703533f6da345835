//! Why a build gave up: the error, and the places in the file it is about.

use kiln_sdk::frontend::FrontendError;

use crate::lines::Lines;
use crate::mistake::Mistake;

/// An error with the places of the file it is about, the innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What is wrong.
    pub(crate) error: FrontendError,
    /// Where.
    pub(crate) places: Vec<Lines>,
}

impl Failure {
    /// Words of which the place is not known yet.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        FrontendError::unknown(message).into()
    }

    /// Adds an outer place.
    #[must_use]
    pub(crate) fn at(mut self, lines: Lines) -> Self {
        self.places.push(lines);
        self
    }

    /// Puts another place in place of all.
    #[must_use]
    pub(crate) fn only_at(mut self, lines: Lines) -> Self {
        self.places = vec![lines];
        self
    }

    /// Puts words and a colon in front of the message.
    #[must_use]
    pub(crate) fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.error = self.error.context(what);
        self
    }

    /// Adds a guess of what a word was meant to be, if there is one.
    #[must_use]
    pub(crate) fn hint<'o>(self, word: &str, options: impl IntoIterator<Item = &'o str>) -> Self {
        let message = self.error.message().to_owned();
        let message = crate::suggest::hint(message, word, options, true);
        Self { error: self.error.with_message(message), places: self.places }
    }
}

impl From<FrontendError> for Failure {
    fn from(error: FrontendError) -> Self {
        Self { error, places: Vec::new() }
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self { error: FrontendError::unknown(mistake.message), places: mistake.places }
    }
}

impl From<crate::words::ExpandError> for Failure {
    fn from(error: crate::words::ExpandError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}
