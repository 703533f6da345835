//! Keys and values on disk, in one file.
//!
//! What is in the file can be made again: when it cannot be read it is moved aside and started anew.
//! A write does not wait for the disk: many quick ones are made durable together, by `flush` or once
//! enough of them wait.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

/// A [`KeyValue`] in a file.
pub struct DiskKeyValue {
    database: Database,
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
            Ok(database) => Ok(database),
            Err(error) if in_use(&error) => Err(failed(error)),
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
        Ok(Self { database, waiting: Mutex::default() })
    }

    /// Whether the next write should take all earlier ones to the disk.
    fn is_due(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = (*waiting + 1) % MOST_WAITING;
        *waiting == 0
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let value = self.database.begin_read()?.open_table(TABLE)?.get(key)?;
        Ok(value.map(|value| value.value().to_owned()))
    }

    fn read_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
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

    fn apply(&self, batch: &Batch) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
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

fn in_use(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseAlreadyOpen)
        || matches!(error, redb::Error::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied)
}

impl KeyValue for DiskKeyValue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError> {
        Ok(self.read(key)?)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, KeyValueError> {
        Ok(self.read_range(prefix, after, limit)?)
    }

    fn write(&self, batch: Batch) -> Result<(), KeyValueError> {
        Ok(self.apply(&batch)?)
    }

    fn flush(&self) -> Result<(), KeyValueError> {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting > 0 {
            // A commit takes with it all that was committed before without waiting.
            self.database.begin_write()?.commit()?;
        }
        Ok(())
    }
}

impl fmt::Debug for DiskKeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskKeyValue").finish_non_exhaustive()
    }
}
