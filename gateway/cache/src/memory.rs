//! Keys and values in memory: for tests, for builds without a disk, for caches that were imported.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key_value::{Batch, Entry, KeyValue, KeyValueError};

/// A [`KeyValue`] that is gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryKeyValue(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryKeyValue {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValue for MemoryKeyValue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.entries().get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, KeyValueError> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let entries = self.entries();
        let found = entries.range::<[u8], _>((start, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, batch: Batch) -> Result<(), KeyValueError> {
        let mut entries = self.entries();
        entries.extend(batch.puts);
        for key in batch.deletes {
            entries.remove(&key);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KeyValueError> {
        Ok(())
    }
}
