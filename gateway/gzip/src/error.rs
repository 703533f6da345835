//! In: a level nobody knows. Out: the error that says so.

use std::error::Error;
use std::fmt;

/// The compression level is not one of -2 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelError {
    level: i32,
}

impl LevelError {
    pub(crate) const fn new(level: i32) -> Self {
        Self { level }
    }

    /// The level that was asked for.
    #[must_use]
    pub const fn level(&self) -> i32 {
        self.level
    }
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gzip level {} is not between -2 and 9", self.level)
    }
}

impl Error for LevelError {}
