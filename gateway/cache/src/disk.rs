//! Keys and values on disk, in one file.
//!
//! What is in the file can be made again: when it cannot be read it is moved aside and started anew.
//! A write does not wait for the disk: many quick ones are made durable together, by `flush` or once
//! enough of them wait. A full disk costs the writes of that time and no more: the file is opened
//! again afterwards.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use crate::key_value::{Batch, Entry, KeyValue, KeyValueError};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("links.v1");

/// How many writes may wait for the disk while new ones keep coming.
const MOST_WAITING: usize = 32;

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

/// A [`KeyValue`] in a file.
pub struct DiskKeyValue {
    path: PathBuf,
    /// Empty only while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    /// How many writes wait for the disk.
    waiting: Mutex<usize>,
}

impl DiskKeyValue {
    /// Opens the file, or makes it. A file that is broken is left beside it under the name
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
        // A file that has its table already is not written to: opening must not wait for the disk.
        if database.begin_read()?.open_table(TABLE).is_err() {
            let write = database.begin_write()?;
            write.open_table(TABLE)?;
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

    /// Whether the next write should take all earlier ones to the disk.
    fn is_due(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = (*waiting + 1) % MOST_WAITING;
        *waiting == 0
    }

    fn read(database: &Database, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let value = database.begin_read()?.open_table(TABLE)?.get(key)?;
        Ok(value.map(|value| value.value().to_owned()))
    }

    fn read_range(
        database: &Database,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, redb::Error> {
        let table = database.begin_read()?.open_table(TABLE)?;
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
    }

    fn apply(&self, database: &Database, batch: &Batch) -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        if !self.is_due() {
            write.set_durability(Durability::None)?;
        }
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in &batch.puts {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            for key in &batch.deletes {
                table.remove(key.as_slice())?;
            }
        }
        Ok(write.commit()?)
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

impl KeyValue for DiskKeyValue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.with(|database| Self::read(database, key))?)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, KeyValueError> {
        Ok(self.with(|database| Self::read_range(database, prefix, after, limit))?)
    }

    fn write(&self, batch: Batch) -> Result<(), KeyValueError> {
        Ok(self.with(|database| self.apply(database, &batch))?)
    }

    fn flush(&self) -> Result<(), KeyValueError> {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting > 0 {
            // A commit takes with it all that was committed before without waiting.
            self.with(|database| Ok(database.begin_write()?.commit()?))?;
        }
        Ok(())
    }
}

impl fmt::Debug for DiskKeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskKeyValue").finish_non_exhaustive()
    }
}
