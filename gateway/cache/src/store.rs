//! Where records are kept, as a contract.

use serde::{Deserialize, Serialize};

use crate::CacheKey;

/// A result found in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Its content key; whatever reads the result is keyed by it.
    pub key: CacheKey,
    /// One text per output that the worker understands; `None` is the empty file system.
    pub results: Vec<Option<String>>,
    /// The vertex's name when it ran, for people.
    pub description: String,
    /// When it ran, in seconds since 1970.
    pub created: u64,
}

/// Keeps records by key. A broken or missing record is a miss, never an error.
pub trait CacheStore: Send + Sync {
    /// Finds a record by either of its keys.
    fn get(&self, key: &CacheKey) -> Option<CacheRecord>;

    /// Keeps a record under its content key and under `also`. Replaces what was there.
    fn put(&self, record: &CacheRecord, also: Option<&CacheKey>);

    /// Makes what was put so far survive a crash. Until then a crash may lose the latest records,
    /// which then are misses.
    fn flush(&self);

    /// Forgets a record, by its content key.
    fn remove(&self, key: &CacheKey);
}
