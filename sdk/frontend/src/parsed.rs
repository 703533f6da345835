//! What reading a build file gives: what it means, and what is doubtful in it.

use kiln_document::Diagnostic;

/// A build file that could be read; see [`BuildLanguage::read`](crate::BuildLanguage::read).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Parsed<P> {
    /// What the file means.
    pub plan: P,
    /// What the user should know although the build goes on.
    pub warnings: Vec<Diagnostic>,
}

impl<P> Parsed<P> {
    /// A file without anything doubtful.
    pub fn new(plan: P) -> Self {
        Self { plan, warnings: Vec::new() }
    }

    /// The same with these warnings.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<Diagnostic>) -> Self {
        self.warnings = warnings;
        self
    }
}
