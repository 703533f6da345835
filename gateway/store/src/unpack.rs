//! Unpacking: an archive that a build step was given becomes files of a mounted file system.
//!
//! Entries come in one by one, with their data; [`crate::extract`] writes them with the same care as
//! those of layers. What an archive is, and how it is compressed, is for the caller to find out.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::archive::{Archive, ArchiveError, Entry};
use crate::error::StoreError;
use crate::extract::{ExtractError, Extraction};

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes cannot be read or decompressed.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// The archive is malformed, or asks for something an archive may not do.
    #[error("entry `{entry}`: {problem}")]
    Entry {
        /// The entry's name, shortened.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ExtractError> for UnpackError {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Archive(ArchiveError::Read(source)) => Self::Read(source),
            ExtractError::Archive(ArchiveError::Malformed { entry, problem }) => {
                let entry = String::from_utf8_lossy(&entry).chars().take(200).collect();
                Self::Entry { entry, problem }
            }
            ExtractError::Store(error) => Self::Store(error),
        }
    }
}

/// An archive that is being unpacked.
///
/// Nothing is written outside of the root, whatever names and links say: links on the way, of the
/// archive or of the file system, lead to places inside the root.
pub struct Unpacking(Extraction);

impl Unpacking {
    /// Begins in the directory `base` of the file system at `root`; `base` is relative to it and
    /// has no links on its way. With an owner everything becomes theirs.
    ///
    /// # Errors
    ///
    /// If the root cannot be opened.
    pub fn begin(root: &Path, base: &Path, owner: Option<(u32, u32)>) -> Result<Self, UnpackError> {
        Ok(Self(Extraction::files(root, base, owner)?))
    }

    /// Writes one entry with its data. What has its name is replaced, unless both are directories.
    ///
    /// # Errors
    ///
    /// [`UnpackError::Entry`] says what is wrong with the entry.
    pub fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), UnpackError> {
        Ok(self.0.entry(entry, data)?)
    }

    /// Writes everything a tar has.
    ///
    /// # Errors
    ///
    /// As [`Unpacking::entry`]; what was written before stays.
    pub fn tar(&mut self, reader: impl Read) -> Result<(), UnpackError> {
        let mut archive = Archive::new(reader);
        while let Some(entry) = archive.next().map_err(ExtractError::from)? {
            self.0.entry(&entry, &mut archive)?;
        }
        Ok(())
    }

    /// Sets the times of directories. Gives those that no entry is about, relative to the root.
    ///
    /// # Errors
    ///
    /// If a time cannot be set.
    pub fn finish(self) -> Result<BTreeSet<PathBuf>, UnpackError> {
        Ok(self.0.finish()?.implied)
    }
}
