//! Questions to a cache, and what it answers.

use crate::{CacheKey, InputKey};

/// Asks for the records of one output of an operation.
///
/// For an operation without inputs that is one record, by its key. Otherwise a record answers if
/// some key of *every* input leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The operation and its output, by [`CacheKey::operation`].
    pub operation: CacheKey,
    /// What is known of inputs, ascending by number.
    pub inputs: Vec<KnownInput>,
    /// All inputs are listed, so that records can be found. Otherwise it is only asked which of the
    /// open ones lead anywhere.
    pub whole: bool,
}

/// What is known of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownInput {
    /// The number of the input.
    pub number: u32,
    /// Records that all stand for it.
    pub keys: Vec<InputKey>,
    /// It is not known yet whether it leads to any record.
    pub is_open: bool,
}

/// What a cache has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The records to which every input leads, [`Answer::MOST_RECORDS`] at most.
    pub records: Vec<FoundRecord>,
    /// The open inputs that lead to some record, ascending; all of them if a record was found.
    pub linked: Vec<u32>,
}

impl Answer {
    /// The most records of an answer. Two is rare: then the same result was reached on ways that
    /// had nothing in common at that time.
    pub const MOST_RECORDS: usize = 32;
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its key, which leads on to whatever reads the result.
    pub key: CacheKey,
    /// Its results, in no order. There may be none: then it is a step on the way to others.
    pub results: Vec<SavedResult>,
    /// Keys of inputs that do not lead to it yet. As they stand for the same inputs, they may.
    pub unlinked: Vec<(u32, InputKey)>,
}

/// A result as a cache knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SavedResult {
    /// When it was made, in nanoseconds since 1970.
    pub created: u64,
    /// A text that whoever saved it understands.
    pub id: String,
}
