//! What sources remember between builds: entity tags, resolved names, checkouts, documents.
//!
//! A small database of its own, `sources.redb` in the store's root. It is a cache: an entry that is
//! lost or wrong costs a request, never a wrong result, because content is verified and refs are
//! looked up. The oldest entries go when there are too many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_store::Database;
use redb::{Durability, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Key → time of use (seconds), then the value.
type Table = TableDefinition<'static, &'static str, &'static [u8]>;

/// One kind of memory, and how much of it is kept.
pub(crate) struct StateTable {
    table: Table,
    most_entries: u64,
}

/// What URLs answered last.
pub(crate) const HTTP: StateTable = StateTable { table: Table::new("http"), most_entries: 4096 };
/// What image names were resolved to last.
pub(crate) const IMAGES: StateTable =
    StateTable { table: Table::new("images"), most_entries: 4096 };
/// Which repositories have which digests, for anyone.
pub(crate) const REACHED: StateTable =
    StateTable { table: Table::new("reached"), most_entries: 16384 };
/// Kept refs of git checkouts and images, by key.
pub(crate) const REFS: StateTable = StateTable { table: Table::new("refs"), most_entries: 16384 };
/// Manifests and configs, by digest.
pub(crate) const DOCUMENTS: StateTable =
    StateTable { table: Table::new("documents"), most_entries: 1024 };

/// Why the memory could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open `{path}`, which remembers sources between builds")]
pub struct StateError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The database; a cheap handle.
#[derive(Clone)]
pub(crate) struct StateFile {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// When what was written last reached the disk, `None` if all of it has.
    flushed: Mutex<Option<Instant>>,
}

/// How much memory the database may use, in bytes.
const CACHE_BYTES: usize = 16 << 20;
/// What is remembered reaches the disk this long after it was written, or when the file is closed.
const FLUSH: Duration = Duration::from_secs(5);
/// A value that is remembered again within this time is not written again, in seconds.
const RECENT: u64 = 3600;

impl StateFile {
    /// Opens the memory in a directory. One that cannot be read is begun anew, unless that is for
    /// want of space.
    pub(crate) fn open(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join("sources.redb");
        let database = match Database::open(&path, CACHE_BYTES) {
            Ok(database) => database,
            Err(error) if kiln_store::is_full(&error) => {
                return Err(StateError { path, source: error.into() });
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "begun anew");
                let fresh = fs::remove_file(&path).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                });
                let failed = |source| StateError { path: path.clone(), source };
                fresh.map_err(|error| failed(error.into()))?;
                Database::open(&path, CACHE_BYTES).map_err(|error| failed(error.into()))?
            }
        };
        Ok(Self { inner: Arc::new(Inner { database, flushed: Mutex::default() }) })
    }

    /// What is remembered, if it is there and can be read.
    pub(crate) async fn get<T: DeserializeOwned>(&self, rows: &StateTable, key: &str) -> Option<T> {
        serde_json::from_slice(&self.get_bytes(rows, key).await?).ok()
    }

    /// The same for what is bytes anyway.
    pub(crate) async fn get_bytes(&self, rows: &StateTable, key: &str) -> Option<Vec<u8>> {
        let (inner, table, key) = (Arc::clone(&self.inner), rows.table, key.to_owned());
        let read = move || -> Result<Option<Vec<u8>>, redb::Error> {
            inner.database.read(|transaction| {
                let table = match transaction.open_table(table) {
                    Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                    table => table?,
                };
                let value = table.get(key.as_str())?;
                Ok(value.and_then(|value| Some(value.value().get(8..)?.to_vec())))
            })
        };
        tokio::task::spawn_blocking(read).await.ok()?.unwrap_or_else(|error| {
            tracing::warn!(%error, "memory of sources cannot be read");
            None
        })
    }

    /// Remembers a value in place of an older one. Failing to do so is logged and does not matter.
    pub(crate) async fn put<T: Serialize>(&self, rows: &StateTable, key: &str, value: &T) {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.put_bytes(rows, key, &bytes).await,
            Err(error) => tracing::warn!(%error, "a memory of sources cannot be written"),
        }
    }

    /// The same for what is bytes anyway.
    pub(crate) async fn put_bytes(&self, rows: &StateTable, key: &str, value: &[u8]) {
        let (inner, table) = (Arc::clone(&self.inner), rows.table);
        let (most, key) = (rows.most_entries, key.to_owned());
        let mut row = now().to_be_bytes().to_vec();
        row.extend_from_slice(value);
        let write = move || -> Result<(), redb::Error> {
            if inner.remembers(table, &key, &row)? {
                return Ok(());
            }
            // Losing the last entries to a crash is fine, waiting for the disk each time is not.
            let due = inner.is_flush_due();
            let durability = if due { Durability::Immediate } else { Durability::None };
            inner.database.write(durability, |transaction| {
                let mut table = transaction.open_table(table)?;
                table.insert(key.as_str(), row.as_slice())?;
                if redb::ReadableTableMetadata::len(&table)? > most {
                    drop_oldest(&mut table)?;
                }
                Ok(())
            })
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Err(error)) => tracing::warn!(%error, "memory of sources cannot be written"),
            Err(error) => tracing::warn!(%error, "memory of sources was not written"),
            Ok(Ok(())) => {}
        }
    }
}

impl Inner {
    /// Whether this very value was remembered within the last hour: writing it again would only
    /// keep the disk busy.
    fn remembers(&self, table: Table, key: &str, row: &[u8]) -> Result<bool, redb::Error> {
        self.database.read(|transaction| {
            let table = match transaction.open_table(table) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(false),
                table => table?,
            };
            let Some(known) = table.get(key)? else { return Ok(false) };
            let age = |row: &[u8]| row.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
            let known = known.value();
            let recent = age(row).saturating_sub(age(known)) < RECENT;
            Ok(recent && known.get(8..) == row.get(8..))
        })
    }

    fn is_flush_due(&self) -> bool {
        let now = Instant::now();
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let last = *flushed.get_or_insert(now);
        let due = now.duration_since(last) >= FLUSH;
        if due {
            *flushed = None;
        }
        due
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let unflushed = self.flushed.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if !unflushed {
            return;
        }
        if let Err(error) = self.database.write(Durability::Immediate, |_| Ok(())) {
            tracing::warn!(%error, "memory of sources was not written to disk");
        }
    }
}

/// Removes the older half.
fn drop_oldest(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
) -> Result<(), redb::Error> {
    let mut ages = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let age = value.value().get(..8).unwrap_or_default().to_vec();
        ages.push((age, key.value().to_owned()));
    }
    ages.sort();
    for (_, key) in &ages[..ages.len() / 2] {
        table.remove(key.as_str())?;
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_shelf_forgets_the_older_half() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateFile::open(directory.path()).unwrap();
        let rows = StateTable { table: Table::new("t"), most_entries: 4 };
        for number in 0..5 {
            state.put(&rows, &number.to_string(), &number).await;
        }
        assert_eq!(state.get::<u32>(&rows, "0").await, None);
        assert_eq!(state.get::<u32>(&rows, "4").await, Some(4));
    }

    #[tokio::test]
    async fn a_damaged_file_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sources.redb"), "not a database").unwrap();
        let state = StateFile::open(directory.path()).unwrap();
        state.put(&HTTP, "a", &1).await;
        assert_eq!(state.get::<u32>(&HTTP, "a").await, Some(1));
        drop(state);
        let state = StateFile::open(directory.path()).unwrap();
        assert_eq!(state.get::<u32>(&HTTP, "a").await, Some(1), "it survives being closed");
    }
}
