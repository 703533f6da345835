//! The database as its owners see it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_handle::Handle;
use redb::{Durability, ReadTransaction, WriteTransaction};

use crate::error::{OpenError, is_damage};
use crate::file::{DatabaseFile, open_other, set_aside};
use crate::owner::{Found, Owner, is_laid_out, lay_out, schema};

/// The name of the file in the state directory.
pub const FILE: &str = "metadata.redb";

/// The database of a state directory. A cheap handle; clones are the same database.
///
/// When the last one goes, what waits for the disk is taken there.
#[derive(Clone, Debug)]
pub struct Metadata(Handle<Inner>);

// Order matters: the database is closed before the lock of the directory is let go.
#[derive(Debug)]
struct Inner {
    file: DatabaseFile,
    directory: PathBuf,
    /// Something in the file was found damaged after it was opened.
    is_damaged: AtomicBool,
    _lock: Option<File>,
}

impl Metadata {
    /// Opens or makes the database of a directory. A file that cannot be read is set aside; see the
    /// crate's documentation. `lock` is whatever keeps other processes out of the directory, and is
    /// closed after the database.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the directory cannot be written, another process keeps the file locked, or there
    /// is no space.
    pub fn open(directory: &Path, lock: Option<File>) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let file = match open_checked(&path) {
            Err(error) if is_damage(&error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "set aside; nothing is known of what was built, and no build is in the history"
                );
                set_aside(&path).map_err(OpenError::file("set aside", &path))?;
                open_checked(&path)
            }
            opened => opened,
        };
        let file = file.map_err(|error| OpenError::database(&path, error))?;
        let (directory, is_damaged) = (directory.to_owned(), AtomicBool::new(false));
        Ok(Self(Handle::new(Inner { file, directory, is_damaged, _lock: lock })))
    }

    /// Gets the tables of an owner ready: those that it left, or empty ones. Nothing is written if they
    /// are there. To be called once, before the first transaction.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if there is no space to make them, or the machine beneath fails.
    pub fn begin(&self, owner: &Owner) -> Result<Found, OpenError> {
        let known = self.read(|transaction| schema(transaction, owner));
        let known = known.map_err(|error| self.failed(error))?;
        if known == Some(owner.schema) {
            self.remove_earlier(owner);
            return Ok(Found::Kept);
        }
        if let Some(known) = known {
            tracing::warn!(
                owner = owner.name,
                found = known,
                expected = owner.schema,
                "another version has written {}; begun anew",
                owner.holds
            );
        } else if self.take_over(owner)? {
            return Ok(Found::TakenOver);
        }
        // A crash before the next durable commit leaves the file as it was.
        let made = self.write(Durability::None, |transaction| owner.make(None, transaction));
        made.map_err(|error| self.failed(error))?;
        Ok(Found::Nothing)
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
        self.checked(self.0.file.read(look))
    }

    /// Writes, and commits unless `change` fails. Waits for others who write; a durable commit waits for
    /// the disk. A commit that is not durable is so with the next one that is, the next
    /// [`flush`](Self::flush), and once there are many.
    ///
    /// # Errors
    ///
    /// What redb or `change` answers. Nothing of the change is there then.
    pub fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.checked(self.0.file.write(durability, change))
    }

    /// Makes everything durable that was written so far, by whomever. Touches no disk if it is.
    ///
    /// # Errors
    ///
    /// What redb answers.
    pub fn flush(&self) -> Result<(), redb::Error> {
        self.checked(self.0.file.flush())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.file.path()
    }

    /// Sets the file aside once something in it turns out to be damaged: what can still be read is used
    /// until the end of this process, and the next one begins anew.
    fn checked<T>(&self, result: Result<T, redb::Error>) -> Result<T, redb::Error> {
        if let Err(error @ redb::Error::Corrupted(_)) = &result
            && !self.0.is_damaged.swap(true, Ordering::Relaxed)
        {
            let path = self.path().display();
            tracing::warn!(%path, %error, "damaged; set aside, and begun anew with the next start");
            if let Err(error) = set_aside(self.path()) {
                tracing::warn!(%path, %error, "cannot be set aside");
            }
        }
        result
    }

    fn failed(&self, error: redb::Error) -> OpenError {
        OpenError::database(self.path(), error)
    }

    fn earlier_file(&self, owner: &Owner) -> Option<PathBuf> {
        let path = self.0.directory.join(owner.earlier?.file);
        path.exists().then_some(path)
    }

    /// Takes over what an owner has in its earlier file, and says whether there was anything. A file that
    /// cannot be read is set aside.
    fn take_over(&self, owner: &Owner) -> Result<bool, OpenError> {
        let Some(path) = self.earlier_file(owner) else { return Ok(false) };
        if fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            self.remove_earlier(owner);
            return Ok(false);
        }
        let copied = open_other(&path).and_then(|earlier| {
            // Durable, because the file goes.
            let made = |transaction: &WriteTransaction| owner.make(Some(&earlier), transaction);
            self.write(Durability::Immediate, made)
        });
        match copied {
            Ok(()) => {
                let (from, to) = (path.display(), self.path().display());
                tracing::info!(%from, %to, "moved {} to where everything is kept now", owner.holds);
                self.remove_earlier(owner);
                Ok(true)
            }
            Err(error) if is_damage(&error) => {
                let path_shown = path.display();
                tracing::warn!(path = %path_shown, %error, "set aside; {} begun anew", owner.holds);
                set_aside(&path).map_err(OpenError::file("set aside", &path))?;
                Ok(false)
            }
            Err(error) => Err(OpenError::database(&path, error)),
        }
    }

    /// Removes an earlier file of which nothing is needed any more. A crash may have left it.
    fn remove_earlier(&self, owner: &Owner) {
        let Some(path) = self.earlier_file(owner) else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "not needed any more, and cannot be removed");
            }
            _ => {}
        }
    }
}

fn open_checked(path: &Path) -> Result<DatabaseFile, redb::Error> {
    let file = DatabaseFile::open(path)?;
    if !file.read(is_laid_out)? {
        file.write(Durability::None, lay_out)?;
    }
    Ok(file)
}
