//! Records on disk, in one file.
//!
//! The file is a cache of a cache: when it cannot be read it is moved aside and started anew, and
//! the builds it knew run again. A look-up never writes, and `put` does not wait for the disk: the
//! records of many quick steps are made durable together, by `flush` or once enough of them wait.
//! A full disk costs the records of that time and no more: the file is opened again afterwards.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{CacheKey, CacheRecord, CacheStore};

/// From a definition key to the content key of the record.
const ALIASES: TableDefinition<'_, &str, &str> = TableDefinition::new("aliases.v1");
/// From a content key to the record, as JSON.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records.v1");

/// Why the file could not be opened, even anew.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the cache index {path}")]
pub struct OpenError {
    path: PathBuf,
    source: Box<redb::Error>,
}

impl OpenError {
    /// Whether the disk, or the quota on it, is full.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// How many records may wait for the disk while new ones keep coming.
const MOST_WAITING: usize = 32;

/// A [`CacheStore`] in a file.
pub struct DiskStore {
    path: PathBuf,
    /// Empty only while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    /// How many records wait for the disk.
    waiting: Mutex<usize>,
}

/// A record as it is stored: with the definition keys that lead to it, so that they go with it.
#[derive(Serialize, Deserialize)]
struct Stored {
    record: CacheRecord,
    aliases: Vec<CacheKey>,
}

impl DiskStore {
    /// Opens the file, or makes it. A file that is broken is kept beside it under the name
    /// `<file>.corrupt`.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the directory cannot be written or another process has the file open.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |source: redb::Error| OpenError { path: path.to_owned(), source: Box::new(source) };
        match Self::try_open(path) {
            Ok(store) => Ok(store),
            Err(error) if in_use(&error) || is_full(&error) => Err(failed(error)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the cache index is broken; starting anew");
                let mut aside = path.as_os_str().to_owned();
                aside.push(".corrupt");
                if std::fs::rename(path, aside).is_err() {
                    return Err(failed(error));
                }
                Self::try_open(path).map_err(failed)
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        // What has its tables already is not written to: opening must not wait for the disk.
        let read = database.begin_read()?;
        let known = read.open_table(ALIASES).is_ok() && read.open_table(RECORDS).is_ok();
        drop(read);
        if !known {
            let write = database.begin_write()?;
            write.open_table(ALIASES)?;
            write.open_table(RECORDS)?;
            write.commit()?;
        }
        let (path, database) = (path.to_owned(), RwLock::new(Some(database)));
        Ok(Self { path, database, waiting: Mutex::default() })
    }

    /// Uses the database. After an I/O error redb refuses everything until it is opened again, which
    /// is done at once, and with every later use while it does not work.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.open_again_if_closed();
        let handle = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let result = work(handle.as_ref().ok_or(redb::Error::PreviousIo)?);
        drop(handle);
        if matches!(result, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
            self.open_again_if_closed();
        }
        result
    }

    fn open_again_if_closed(&self) {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let mut handle = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if handle.is_none() {
            match Database::open(&self.path) {
                Ok(database) => *handle = Some(database),
                Err(error) => tracing::warn!(%error, "the cache index cannot be opened again yet"),
            }
        }
    }

    fn find(database: &Database, key: &CacheKey) -> Result<Option<CacheRecord>, redb::Error> {
        let read = database.begin_read()?;
        let alias =
            read.open_table(ALIASES)?.get(key.as_str())?.map(|value| value.value().to_owned());
        let records = read.open_table(RECORDS)?;
        let stored = records.get(alias.as_deref().unwrap_or(key.as_str()))?;
        Ok(stored
            .and_then(|value| serde_json::from_slice::<Stored>(value.value()).ok())
            .map(|stored| stored.record))
    }

    fn insert(
        &self,
        database: &Database,
        record: &CacheRecord,
        also: Option<&CacheKey>,
    ) -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        if !self.is_due() {
            write.set_durability(Durability::None)?;
        }
        {
            let mut records = write.open_table(RECORDS)?;
            let old = records
                .get(record.key.as_str())?
                .and_then(|v| serde_json::from_slice::<Stored>(v.value()).ok());
            let mut aliases = old.map(|stored| stored.aliases).unwrap_or_default();
            if let Some(also) = also {
                write.open_table(ALIASES)?.insert(also.as_str(), record.key.as_str())?;
                aliases.retain(|alias| alias != also);
                aliases.push(also.clone());
            }
            let stored = Stored { record: record.clone(), aliases };
            // Strings and numbers always have a JSON form.
            records.insert(
                record.key.as_str(),
                serde_json::to_vec(&stored).unwrap_or_default().as_slice(),
            )?;
        }
        write.commit()?;
        Ok(())
    }

    /// Whether the next record should take all earlier ones to the disk.
    fn is_due(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = (*waiting + 1) % MOST_WAITING;
        *waiting == 0
    }

    fn delete(database: &Database, key: &CacheKey) -> Result<(), redb::Error> {
        let write = database.begin_write()?;
        {
            let mut records = write.open_table(RECORDS)?;
            let old = records.remove(key.as_str())?;
            let old = old.and_then(|value| serde_json::from_slice::<Stored>(value.value()).ok());
            let mut aliases = write.open_table(ALIASES)?;
            for alias in old.map(|stored| stored.aliases).unwrap_or_default() {
                let ours = aliases
                    .get(alias.as_str())?
                    .is_some_and(|target| target.value() == key.as_str());
                if ours {
                    aliases.remove(alias.as_str())?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn is_full(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded))
}

fn in_use(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseAlreadyOpen)
        || matches!(error, redb::Error::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied)
}

impl CacheStore for DiskStore {
    fn get(&self, key: &CacheKey) -> Option<CacheRecord> {
        self.with(|database| Self::find(database, key)).unwrap_or_else(|error| {
            tracing::warn!(%error, "cache look-up failed; treated as a miss");
            None
        })
    }

    fn put(&self, record: &CacheRecord, also: Option<&CacheKey>) {
        if let Err(error) = self.with(|database| self.insert(database, record, also)) {
            tracing::warn!(%error, "a result could not be recorded in the cache; it will be built again");
        }
    }

    fn flush(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting == 0 {
            return;
        }
        // A commit takes with it all that was committed before without waiting.
        if let Err(error) = self.with(|database| Ok(database.begin_write()?.commit()?)) {
            tracing::warn!(%error, "the cache index could not be flushed");
        }
    }

    fn remove(&self, key: &CacheKey) {
        if let Err(error) = self.with(|database| Self::delete(database, key)) {
            tracing::warn!(%error, "a cache record could not be removed");
        }
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}
