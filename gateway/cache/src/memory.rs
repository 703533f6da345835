//! Records in memory, for tests and for builds without a disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{CacheKey, CacheRecord, CacheStore};

/// A [`CacheStore`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    aliases: BTreeMap<CacheKey, CacheKey>,
    records: BTreeMap<CacheKey, CacheRecord>,
}

impl CacheStore for MemoryStore {
    fn get(&self, key: &CacheKey) -> Option<CacheRecord> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = tables.aliases.get(key).unwrap_or(key);
        tables.records.get(key).cloned()
    }

    fn put(&self, record: &CacheRecord, also: Option<&CacheKey>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.records.insert(record.key.clone(), record.clone());
        if let Some(also) = also {
            tables.aliases.insert(also.clone(), record.key.clone());
        }
    }

    fn flush(&self) {}

    fn remove(&self, key: &CacheKey) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.records.remove(key);
        tables.aliases.retain(|_, target| target != key);
    }
}
