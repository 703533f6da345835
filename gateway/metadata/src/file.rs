//! A database file that goes on after the machine beneath has failed.
//!
//! redb refuses everything once a read or write has failed, until the file is opened again. That is
//! done here, at once, and with every later use while it does not work. Whoever asked gets the error;
//! what was durable before stays readable.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::error::ends_the_handle;

/// How much memory the database may use, in bytes.
const CACHE_BYTES: usize = 32 << 20;
/// How many commits may wait for the disk; the next one takes them there.
const MOST_WAITING: usize = 32;
/// How often a file is tried that another process has locked, and how long is waited in between. What a
/// process forks holds its locks until it becomes another program.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// A file that stays locked is tried after twice the time each time, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A database file.
pub(crate) struct DatabaseFile {
    path: PathBuf,
    opened: RwLock<Opened>,
    /// How many commits wait for the disk. Locked by whoever writes.
    waiting: Mutex<usize>,
}

struct Opened {
    /// Empty only while it cannot be opened again.
    database: Option<redb::Database>,
    /// Counts how often it was opened.
    generation: u64,
    locked: Option<Locked>,
}

/// Another process has the file locked.
struct Locked {
    pause: Duration,
    /// Until then it is not tried again.
    until: Instant,
}

impl DatabaseFile {
    /// Opens or makes a database, for this user alone.
    pub(crate) fn open(path: &Path) -> Result<Self, redb::Error> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut tries = 1;
        let database = loop {
            match guarded(|| Ok(builder().create(path)?)) {
                Err(redb::Error::DatabaseAlreadyOpen) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => break opened?,
            }
        };
        let opened = Opened { database: Some(database), generation: 0, locked: None };
        Ok(Self { path: path.to_owned(), opened: RwLock::new(opened), waiting: Mutex::default() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads.
    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.with(|database| look(&database.begin_read()?))
    }

    /// Writes, and commits unless `change` fails.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = *waiting + 1 >= MOST_WAITING;
        let durability = if is_due { Durability::Immediate } else { durability };
        let done = self.with(|database| commit(database, durability, change));
        match (&done, durability) {
            (Ok(_), Durability::None) => *waiting += 1,
            (Ok(_), _) => *waiting = 0,
            // What waited is lost with the handle.
            (Err(error), _) if ends_the_handle(error) => *waiting = 0,
            (Err(_), _) => {}
        }
        done
    }

    /// Takes to the disk what waits for it.
    pub(crate) fn flush(&self) -> Result<(), redb::Error> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *waiting) == 0 {
            return Ok(());
        }
        self.with(|database| commit(database, Durability::Immediate, |_| Ok(())))
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.open_again_if_closed();
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let generation = opened.generation;
        let database = opened.database.as_ref().ok_or(redb::Error::PreviousIo)?;
        let result = guarded(|| work(database));
        drop(opened);
        if result.as_ref().is_err_and(ends_the_handle) {
            self.close(generation);
            self.open_again_if_closed();
        }
        result
    }

    /// Closes it, unless somebody has opened it again meanwhile.
    fn close(&self, generation: u64) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.generation == generation {
            closed(opened.database.take());
        }
    }

    fn open_again_if_closed(&self) {
        if self.opened.read().unwrap_or_else(PoisonError::into_inner).database.is_some() {
            return;
        }
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let is_early = opened.locked.as_ref().is_some_and(|locked| Instant::now() < locked.until);
        if opened.database.is_some() || is_early {
            return;
        }
        match open_other(&self.path) {
            Ok(database) => {
                let generation = opened.generation + 1;
                *opened = Opened { database: Some(database), generation, locked: None };
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be opened again yet");
                let before = opened.locked.take();
                opened.locked = matches!(error, redb::Error::DatabaseAlreadyOpen).then(|| {
                    let pause = before.map_or(LOCK_PAUSE, |locked| locked.pause * 2);
                    let pause = pause.min(LONGEST_PAUSE);
                    Locked { pause, until: Instant::now() + pause }
                });
            }
        }
    }
}

impl Drop for DatabaseFile {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(path = %self.path.display(), %error, "what was written last is lost");
        }
        let opened = self.opened.get_mut().unwrap_or_else(PoisonError::into_inner);
        closed(opened.database.take());
    }
}

impl std::fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Does something with a database. redb panics at some kinds of damage; that is an error like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(redb::Error::Corrupted(format!("the database panicked: {text}")))
    })
}

/// Closes a database, as far as that works.
fn closed(database: Option<redb::Database>) {
    let dropped = guarded(|| {
        drop(database);
        Ok(())
    });
    // It is gone either way.
    dropped.ok();
}

fn commit<T>(
    database: &redb::Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    let done = change(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn builder() -> redb::Builder {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Renames a file that is no database, or none of this version, so that a new one can be begun. One that
/// was set aside before goes.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".broken");
    fs::rename(path, aside)
}

/// Opens a database of another file, if it is one.
pub(crate) fn open_other(path: &Path) -> Result<redb::Database, redb::Error> {
    guarded(|| Ok(builder().open(path)?))
}

#[cfg(test)]
mod tests {
    use redb::TableDefinition;

    use super::*;

    const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("table");

    fn put(file: &DatabaseFile, value: u64) -> Result<(), redb::Error> {
        file.write(Durability::Immediate, |transaction| {
            transaction.open_table(TABLE)?.insert("key", value)?;
            Ok(())
        })
    }

    fn get(file: &DatabaseFile) -> Result<Option<u64>, redb::Error> {
        file.read(|transaction| {
            Ok(transaction.open_table(TABLE)?.get("key")?.map(|value| value.value()))
        })
    }

    #[test]
    fn it_is_opened_again_after_an_error_of_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let file = DatabaseFile::open(&root.path().join("file")).unwrap();
        put(&file, 1).unwrap();
        for error in [redb::Error::Io(std::io::Error::other("disk")), redb::Error::PreviousIo] {
            let before = file.opened.read().unwrap().generation;
            file.read(|_| Err::<(), _>(error)).unwrap_err();
            assert_eq!(file.opened.read().unwrap().generation, before + 1);
            assert_eq!(get(&file).unwrap(), Some(1));
        }
        // One that another thread has opened again meanwhile stays open.
        file.close(0);
        assert_eq!(file.opened.read().unwrap().generation, 2);
        assert_eq!(get(&file).unwrap(), Some(1));
    }

    #[test]
    fn a_file_that_another_has_locked_is_tried_again_after_pauses() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        let file = DatabaseFile::open(&path).unwrap();
        put(&file, 1).unwrap();
        file.opened.write().unwrap().database.take();
        // It holds what this one held.
        let other = redb::Database::open(&path).unwrap();
        let pause = || file.opened.read().unwrap().locked.as_ref().map(|locked| locked.pause);
        let mut pauses = Vec::new();
        while pauses.len() < 3 {
            assert!(matches!(get(&file), Err(redb::Error::PreviousIo)));
            assert!(put(&file, 2).is_err());
            if pause() != pauses.last().copied() {
                pauses.extend(pause());
            }
        }
        assert_eq!(pauses, [LOCK_PAUSE, LOCK_PAUSE * 2, LOCK_PAUSE * 4]);
        drop(other);
        while get(&file).is_err() {
            std::thread::yield_now();
        }
        assert_eq!((get(&file).unwrap(), pause()), (Some(1), None));
    }
}
