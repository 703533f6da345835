//! Changes to files, on plain directories.
//!
//! [`FileOp`](kiln_graph::FileOp) actions come in with the directories they are about; every path is
//! resolved below its root, whatever links are on the way. Nothing here knows refs or graphs.

mod chmod;
mod copy;
mod edit;
mod owner;
mod unpack;
mod zip;

pub(crate) use copy::copy;
pub(crate) use edit::{make_dir, make_file, make_symlink, remove};
pub(crate) use owner::{Ids, find_owner};

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Hears how many bytes are about to be written, and waits for space for them.
pub(crate) type Allocate<'a> = &'a dyn Fn(u64);

/// The directories that were made only because something was put below them, relative to the root of
/// what is changed. Whatever is said about one of them takes it out again.
pub(crate) type Implied = BTreeSet<PathBuf>;

fn imply(implied: &mut Implied, root: &Path, made: &[PathBuf]) {
    implied.extend(made.iter().filter_map(|path| path.strip_prefix(root).ok()).map(Path::to_owned));
}

/// Why a change failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Something does not exist.
    #[error("{0}: no such file or directory")]
    Missing(String),
    /// Something that must be among what is copied does not exist.
    #[error("{0:?}: not found")]
    NotFound(String),
    /// Something is in the way.
    #[error("{0}")]
    InTheWay(String),
    /// The action makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// An archive that must not be unpacked.
    #[error("archive {archive}: {reason}")]
    Archive {
        /// The archive, as the user knows it.
        archive: String,
        /// What is wrong.
        reason: String,
    },
    /// The system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what, as the user knows it.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
}

impl FileError {
    /// Wraps what the system answered.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            _ => Self::Io { doing, path, source },
        }
    }

    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}
