//! Why a database cannot be used, and which failures pass.

use std::io;
use std::path::{Path, PathBuf};

/// Why the database, or the tables of an owner, could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no space, on the disk or in the quota on it.
    #[error("no space left on device while opening `{0}`")]
    NoSpace(PathBuf),
    /// A file cannot be made or renamed.
    #[error("{doing} `{path}`")]
    File {
        /// What was being done, such as `set aside`.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file cannot be used now. It may be whole, so it stays where it is.
    #[error("cannot open `{path}`")]
    Database {
        /// Which.
        path: PathBuf,
        /// What the database answered.
        source: Box<redb::Error>,
    },
}

impl OpenError {
    /// Whether the cause is that there is no space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NoSpace(_))
    }

    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace(path.to_owned()),
            _ => Self::File { doing, path: path.to_owned(), source },
        }
    }

    pub(crate) fn database(path: &Path, source: redb::Error) -> Self {
        match is_full(&source) {
            true => Self::NoSpace(path.to_owned()),
            false => Self::Database { path: path.to_owned(), source: Box::new(source) },
        }
    }
}

/// Whether an error means that there is no space, on the disk or in the quota on it.
pub fn is_full(error: &redb::Error) -> bool {
    let full = |code| matches!(code, Some(libc::ENOSPC | libc::EDQUOT));
    matches!(error, redb::Error::Io(error) if full(error.raw_os_error()))
}

/// Whether the database has to be opened again before it answers anything else.
pub(crate) fn ends_the_handle(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

/// Whether an error means that the file is no database of this version, rather than that it cannot be
/// read now.
pub(crate) fn is_damage(error: &redb::Error) -> bool {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo => false,
        redb::Error::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
        _ => true,
    }
}
