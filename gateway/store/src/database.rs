//! A database file that goes on after the disk was full.
//!
//! redb refuses everything once a write has failed, until the file is opened again. That is done
//! here, at once, and again with every later try while it does not work. Whoever writes gets the
//! error; what was committed before stays readable.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

/// A database and where it is.
pub struct Database {
    path: PathBuf,
    cache_bytes: usize,
    /// Empty only while it cannot be opened again.
    handle: RwLock<Option<redb::Database>>,
}

impl Database {
    /// Opens or creates a database, as `redb::Database::create`; `cache_bytes` of memory are for it.
    ///
    /// # Errors
    ///
    /// What redb answers; see [`is_full`].
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, redb::Error> {
        let database = builder(cache_bytes).create(path)?;
        Ok(Self { path: path.to_owned(), cache_bytes, handle: RwLock::new(Some(database)) })
    }

    /// Reads.
    ///
    /// # Errors
    ///
    /// What redb or `look` answers.
    pub fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.open_again_if_closed();
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let database = handle.as_ref().ok_or(redb::Error::PreviousIo)?;
        look(&database.begin_read()?)
    }

    /// Writes, and commits unless `change` fails.
    ///
    /// # Errors
    ///
    /// What redb or `change` answers. Nothing of the change is there then.
    pub fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.open_again_if_closed();
        let work = || {
            let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            let database = handle.as_ref().ok_or(redb::Error::PreviousIo)?;
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        let result = work();
        if matches!(result, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            self.close();
            self.open_again_if_closed();
        }
        result
    }

    fn close(&self) {
        self.handle.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn open_again_if_closed(&self) {
        if self.handle.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        if handle.is_none() {
            match builder(self.cache_bytes).open(&self.path) {
                Ok(database) => *handle = Some(database),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "cannot be opened again yet");
                }
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whether an error means that there is no space, on the disk or in the quota on it.
pub fn is_full(error: &redb::Error) -> bool {
    let full = |code| matches!(code, Some(libc::ENOSPC | libc::EDQUOT));
    matches!(error, redb::Error::Io(error) if full(error.raw_os_error()))
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}
