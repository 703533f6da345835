//! Keys and values on disk, as a table of [`Metadata`].
//!
//! What is in the table can be made again: when it cannot be read it is begun anew. A write does not
//! wait for the disk: many quick ones are made durable together, by `flush`, with the next write of
//! another owner that has to last, or once enough of them wait.

use std::fmt;
use std::ops::Bound;

use kiln_metadata::{Durability, Earlier, Metadata, OpenError, Owner, copy};
use redb::TableDefinition;

use crate::key_value::{Batch, Entry, KeyValue, KeyValueError};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("cache.links");

const OWNER: Owner = Owner {
    name: "cache",
    schema: 1,
    holds: "the cache index",
    create: |transaction| transaction.open_table(TABLE).map(drop).map_err(redb::Error::from),
    earlier: Some(Earlier {
        file: "cache.redb",
        copy: |from, to| copy(from, TableDefinition::new("links.v1"), to, TABLE),
    }),
};

/// A [`KeyValue`] in the database of a state directory.
pub struct DiskKeyValue(Metadata);

impl DiskKeyValue {
    /// Opens the table, or makes it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be made.
    pub fn open(metadata: &Metadata) -> Result<Self, OpenError> {
        metadata.begin(&OWNER)?;
        Ok(Self(metadata.clone()))
    }
}

impl KeyValue for DiskKeyValue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.0.read(|transaction| {
            let value = transaction.open_table(TABLE)?.get(key)?;
            Ok(value.map(|value| value.value().to_owned()))
        })?)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, KeyValueError> {
        Ok(self.0.read(|transaction| {
            let table = transaction.open_table(TABLE)?;
            let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
            let mut entries = Vec::new();
            for entry in table.range::<&[u8]>((start, Bound::Unbounded))?.take(limit) {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                entries.push((key.value().to_owned(), value.value().to_owned()));
            }
            Ok(entries)
        })?)
    }

    fn write(&self, batch: Batch) -> Result<(), KeyValueError> {
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.0.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in &batch.puts {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            for key in &batch.deletes {
                table.remove(key.as_slice())?;
            }
            Ok(())
        })?)
    }

    fn flush(&self) -> Result<(), KeyValueError> {
        Ok(self.0.flush()?)
    }
}

impl fmt::Debug for DiskKeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskKeyValue").finish_non_exhaustive()
    }
}
