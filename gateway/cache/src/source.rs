//! Caches as contracts: what can be asked, and where results are saved.
//!
//! Asking is asynchronous, because a cache may be far away; the future is only a box of the standard
//! library, so no runtime comes with it. Saving is not: it goes to the disk of this machine.

use std::pin::Pin;

use crate::{Answer, CacheKey, ExportGraph, InputKey, Lookup, SavedResult};

/// An answer that may take its time.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that knows records: the disk, memory, a cache that was imported.
pub trait CacheSource: Send + Sync {
    /// Looks records up. Loads nothing and writes nothing; a piece that is missing or broken is
    /// a miss, never an error.
    fn look_up<'a>(&'a self, lookup: &'a Lookup) -> Answering<'a, Answer>;
}

/// The source in which results are saved.
pub trait CacheStore: CacheSource {
    /// Saves records, links and results. What is there already stays; a record with an input that is
    /// known within a session only is left out. May be lost in a crash until [`CacheStore::flush`];
    /// whatever happens, later look-ups find whole pieces or none.
    fn save(&self, saving: &Saving);

    /// Forgets a result, in all of its records; records that lead nowhere go with it.
    fn forget(&self, result: &str);

    /// Forgets all results for which `is_there` is false. Meant for the start of a daemon and for the
    /// time after results were pruned: it asks for every result.
    fn forget_missing(&self, is_there: &dyn Fn(&str) -> bool);

    /// Makes everything that was saved survive a crash.
    fn flush(&self);

    /// Everything that leads to these records, by all known ways, with the results on the way. What
    /// cannot be read is not there.
    fn export_graph(&self, records: &[CacheKey]) -> ExportGraph;
}

/// What is to be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saving {
    /// How records are reached. A record without inputs need not be listed.
    pub records: Vec<SavedRecord>,
    /// Results, each with the record it is for.
    pub results: Vec<(CacheKey, SavedResult)>,
}

/// How a record is reached. There may be other ways to it already, which stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRecord {
    /// Its key.
    pub key: CacheKey,
    /// The operation and its output, by [`CacheKey::operation`].
    pub operation: CacheKey,
    /// The keys of its inputs, each with the number of the input.
    pub inputs: Vec<(u32, InputKey)>,
}
