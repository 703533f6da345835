//! What an ignore file leaves out of the build context, as far as paths alone can tell.

use crate::mistake::Mistake;

/// The patterns of an ignore file.
#[derive(Clone, Debug)]
pub struct Ignored {
    patterns: Vec<String>,
}

impl Ignored {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// If a pattern is none.
    pub fn new(patterns: &[String]) -> Result<Self, Mistake> {
        Ok(Self { patterns: patterns.to_vec() })
    }

    /// Whether a pattern makes an exception.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.starts_with('!'))
    }

    /// Whether a path, or a directory it is in, is left out.
    pub fn covers(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| path == pattern)
    }

    /// Whether everything is left out.
    pub fn covers_root(&self) -> bool {
        self.patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"))
    }
}
