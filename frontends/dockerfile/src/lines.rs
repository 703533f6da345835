//! Places in a Dockerfile: whole lines, counted from 1, as every range of this frontend is.

/// Consecutive lines of one file, both ends included; lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lines {
    /// The first line.
    pub first: u32,
    /// The last line, never before `first`.
    pub last: u32,
}

impl Lines {
    /// No line at all: where an image stands that only a mount names.
    pub const NOWHERE: Self = Self { first: 1, last: 0 };

    /// The lines from `first` to `last`; a `last` before `first` means that one line.
    pub fn new(first: u32, last: u32) -> Self {
        Self { first, last: last.max(first) }
    }

    /// One line.
    pub fn one(line: u32) -> Self {
        Self { first: line, last: line }
    }

    /// Every line by number. Ranges on the wire are one per line.
    pub fn each(self) -> impl Iterator<Item = u32> {
        self.first..=self.last
    }
}
