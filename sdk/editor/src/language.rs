//! What a build language says of its texts.

use kiln_document::{Diagnostic, Fix, Source, Span};

/// A build language, as an editor sees it.
pub trait Language: Send + Sync {
    /// Its name, such as `mockerfile`; editors use it as the language's id.
    fn name(&self) -> &str;

    /// Whether a file of this name (without directories) is in the language.
    fn is_for(&self, file_name: &str) -> bool;

    /// All that is wrong with a text, with fixes where there are some.
    fn diagnose(&self, source: &Source) -> Vec<Diagnostic>;

    /// What the word at a byte of the text means.
    fn hover(&self, source: &Source, offset: usize) -> Option<Hover>;

    /// What may be written at a byte of the text.
    fn complete(&self, source: &Source, offset: usize) -> Vec<Completion>;

    /// What puts breaches of lint rules right, each given by its rule and the line it is told at,
    /// counted from one. As long as the list of breaches; none where somebody has to decide.
    fn fixes(&self, _source: &Source, breaches: &[(&str, usize)]) -> Vec<Option<Fix>> {
        vec![None; breaches.len()]
    }
}

/// What a word means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hover {
    /// The word.
    pub span: Span,
    /// Its meaning, in Markdown.
    pub text: String,
}

/// Something that may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is shown in the list.
    pub label: String,
    /// What it is.
    pub kind: CompletionKind,
    /// What it means, in Markdown; empty if nobody says.
    pub text: String,
    /// What is replaced: the part of the word that is there.
    pub span: Span,
    /// What is written.
    pub insert: String,
}

/// What a [`Completion`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// An instruction of the language.
    Keyword,
    /// A key of a mapping, or an option.
    Key,
    /// One of the values that a key takes.
    Value,
}
