//! Why history could not be opened, or a question about it not be answered.

use std::io;
use std::path::{Path, PathBuf};

/// Why the records could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory cannot be used.
    #[error("cannot use `{path}`, where builds are remembered")]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] kiln_metadata::OpenError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
}

/// Why something was not done with records.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No build of this id is remembered.
    #[error("no build {0} is in the history")]
    NotFound(String),
    /// A text that is no filter.
    #[error("invalid filter of the history: {0}")]
    Filter(String),
    /// A negative limit.
    #[error("invalid limit {0}: must not be negative")]
    Limit(i32),
    /// A listener took its events too slowly.
    #[error("{0} events were not read in time; listen again")]
    Behind(u64),
    /// Ended builds take too long to be written.
    #[error("builds that have ended are still being written; try again")]
    Busy,
    /// A file cannot be read or written.
    #[error("{doing} `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The database cannot be read or written.
    #[error("records of builds cannot be read or written")]
    Database(#[from] Box<redb::Error>),
    /// The process is ending.
    #[error("the history is closed")]
    Closed,
}

impl HistoryError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}

impl From<redb::Error> for HistoryError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}
