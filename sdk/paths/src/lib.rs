//! Clean slash-separated paths, and the patterns that select them.
//!
//! [`path`] tidies and orders paths by their text alone, [`glob`] matches one of them as Go's
//! `filepath.Match` does, [`Patterns`] a whole list as a `.dockerignore` does. Nothing here looks at
//! a file system.

pub mod glob;
pub mod path;
pub mod pattern;

pub use pattern::{PatternError, Patterns};
