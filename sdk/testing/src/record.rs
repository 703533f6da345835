//! A conversation with a daemon, kept once and repeated anywhere.
//!
//! [`Recorder`] stands between a frontend and a bridge and writes down every call with its answer;
//! what comes out is a [`Recording`], one JSON file. [`Recording::replay`] is a bridge that answers
//! from it, so that the same build is repeated without daemon, root or network. Names of results
//! and of the session are the recorder's own, and two recordings of one build are the same file.

mod blob;
mod question;
mod recorder;
mod replayed;
mod session;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::question::{Answer, Info, Question};
pub use self::recorder::Recorder;
pub use self::replayed::Replayed;

/// The version of the file.
const FORMAT: u32 = 1;
/// How large a file may be, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// How much may be said in a recording, in bytes; base64 makes it longer.
const MAX_SAID: usize = 128 << 20;

/// A conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    format: u32,
    info: Info,
    exchanges: Vec<Exchange>,
}

/// One call and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    asked: Question,
    answered: Answer,
}

/// Why a recording cannot be kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no recording.
    #[error("{} is no recording: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The file is of another version of this crate.
    #[error("{} has format {found}; this version reads format {FORMAT}: record it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is too much to keep.
    #[error("the conversation has more than {} MiB; record a smaller build", MAX_SAID >> 20)]
    TooLarge,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if it cannot be read or is no recording.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let unreadable = |source| RecordingError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(RecordingError::TooLarge);
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let parsed: Result<Self, _> = serde_json::from_slice(&bytes);
        let recording =
            parsed.map_err(|source| RecordingError::Parse { path: path.to_owned(), source })?;
        match recording.format {
            FORMAT => Ok(recording),
            found => Err(RecordingError::Format { path: path.to_owned(), found }),
        }
    }

    /// Writes a file; the same recording gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), RecordingError> {
        let path = path.as_ref();
        let failed = |source| RecordingError::Write { path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other);
        std::fs::write(path, text.map_err(failed)? + "\n").map_err(failed)
    }

    /// A bridge that answers from this recording.
    pub fn replay(self) -> Replayed {
        Replayed::new(self)
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether the frontend asked nothing.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }
}
