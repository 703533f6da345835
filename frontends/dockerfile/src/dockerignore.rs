//! What an ignore file leaves out of the build context, as far as paths alone can tell.
//!
//! In go the patterns of the file, out comes whether they cover the path of a COPY. Only lint asks;
//! what is really sent is decided where the context is read, by the same patterns.

use kiln_filesync::{PatternError, Patterns};

use crate::mistake::Mistake;

/// The patterns of an ignore file.
#[derive(Clone, Debug)]
pub struct Dockerignore {
    patterns: Patterns,
    /// One of them stands for everything.
    covers_root: bool,
}

impl Dockerignore {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// If a pattern is a lone `!`, or its brackets or escapes do not add up.
    pub fn new(patterns: &[String]) -> Result<Self, Mistake> {
        let covers_root =
            patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
        let patterns = Patterns::parse(patterns).map_err(|error| match error {
            // The reference does not say which.
            PatternError::Syntax(_) => Mistake::new("syntax error in pattern"),
            other => Mistake::new(other.to_string()),
        })?;
        Ok(Self { patterns, covers_root })
    }

    /// Whether a pattern makes an exception.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.has_negation()
    }

    /// Whether a path, or a directory it is in, is left out. Of patterns without exceptions only.
    ///
    /// The reference takes what stands before a leading slash for a directory, one without a name,
    /// which `*` covers.
    pub fn covers(&self, path: &str) -> bool {
        self.patterns.matches(path)
            || path.strip_prefix('/').is_some_and(|inner| {
                self.patterns.matches("") || (!inner.contains('/') && self.patterns.matches("/"))
            })
    }

    /// Whether everything is left out.
    pub fn covers_root(&self) -> bool {
        self.covers_root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(patterns: &[&str]) -> Result<Dockerignore, Mistake> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Dockerignore::new(&patterns)
    }

    #[test]
    fn a_path_is_covered_with_the_directory_it_is_in() {
        let ignored = ignored(&["a", "**/*.log"]).unwrap();
        assert!(ignored.covers("a") && ignored.covers("a/b/c") && ignored.covers("x/y.log"));
        assert!(!ignored.covers("ab") && !ignored.covers("x/a"));
        assert!(!ignored.has_exclusions() && !ignored.covers_root());
    }

    #[test]
    fn a_star_covers_what_begins_with_a_slash() {
        assert!(ignored(&["*"]).unwrap().covers("/a/b"));
        assert!(!ignored(&["a"]).unwrap().covers("/a"));
    }

    #[test]
    fn exceptions_and_everything_are_noticed() {
        assert!(ignored(&["*", "!a"]).unwrap().has_exclusions());
        assert!(ignored(&["a", "**/*"]).unwrap().covers_root());
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_the_words_of_the_reference() {
        let message = |pattern| ignored(&[pattern]).unwrap_err().message;
        assert_eq!(message("!"), "illegal exclusion pattern: \"!\"");
        assert_eq!(message("[a"), "syntax error in pattern");
    }
}
