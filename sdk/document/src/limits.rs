//! How much a document may ask for.

/// Bounds on one document. They are checked while it is read, before anything large is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// Deepest nesting of lists and mappings. The reader recurses, and takes up to 40 KiB of stack
    /// per level when it is not optimised.
    pub depth: usize,
    /// Most values, counted after aliases are replaced by what they stand for.
    pub nodes: usize,
    /// Most uses of YAML aliases (`*name`).
    pub aliases: usize,
    /// Most diagnostics reported for one file.
    pub diagnostics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, depth: 32, nodes: 50_000, aliases: 1_000, diagnostics: 50 }
    }
}
