//! What can go wrong beneath every operation of the store: a full disk, a failing file, the index.
//!
//! Operations have their own error enums next to their code; each of them carries a [`StoreError`]
//! for the causes that have nothing to do with what was asked.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the machine beneath the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the quota on it, is full. Nothing that was complete before is lost.
    #[error("no space left on device while {doing} `{path}`")]
    NoSpace {
        /// What was being done, such as `writing blob`.
        doing: &'static str,
        /// Where it was being done.
        path: PathBuf,
    },
    /// Less than the reserve would stay free.
    #[error(
        "only {free} bytes are free at `{root}`, and {reserve} are kept in reserve: prune the store \
         or lower the reserve"
    )]
    Reserve {
        /// The root of the store.
        root: PathBuf,
        /// What is free now.
        free: u64,
        /// What has to stay free.
        reserve: u64,
    },
    /// A file operation failed.
    #[error("{doing} `{path}`")]
    Io {
        /// What was being done, such as `create directory`.
        doing: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The index could not be read or written.
    #[error("index of the store at `{root}`")]
    Index {
        /// The root of the store.
        root: PathBuf,
        /// What the database answered.
        source: Box<redb::Error>,
    },
    /// A background task of the store ended, which happens only while the process ends.
    #[error("the store is shutting down")]
    Closed,
}

impl StoreError {
    /// Whether the cause is that there is no space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Reserve { .. })
    }

    /// The failure to write the index, for the second who waited for it.
    pub(crate) fn again(message: &str, full: bool, path: PathBuf) -> Self {
        match full {
            true => Self::NoSpace { doing: "writing index", path },
            false => {
                Self::Io { doing: "write", path, source: io::Error::other(message.to_owned()) }
            }
        }
    }

    /// Wraps what the kernel answered; a full disk becomes [`StoreError::NoSpace`].
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }
}

impl From<kiln_metadata::OpenError> for StoreError {
    fn from(error: kiln_metadata::OpenError) -> Self {
        use kiln_metadata::OpenError::{Database, File, NoSpace};
        match error {
            NoSpace(path) => Self::NoSpace { doing: "opening index", path },
            File { doing, path, source } => Self::Io { doing, path, source },
            Database { path, source } => {
                Self::Index { root: path.parent().map(Path::to_owned).unwrap_or_default(), source }
            }
        }
    }
}

/// Runs a blocking computation on the runtime's pool for such work.
pub(crate) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed.into()),
    }
}
