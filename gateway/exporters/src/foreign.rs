//! An image that was made elsewhere, such as that of a packed frontend.
//!
//! Its manifest, config and layer blobs come in; an [`Image`] like those assembled here goes out,
//! if the parts belong together. Nothing is written.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest};
use kiln_store::Blob;

use crate::assemble::{Document, Image, ImageLayer, LayerBytes, PlatformImage};

/// Why parts are no image.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The manifest or the config.
    #[error("the {document} does not decode")]
    Decode {
        /// Which.
        document: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The manifest is that of another config.
    #[error("the manifest wants config {wanted}, this one is {got}")]
    Config {
        /// In the manifest.
        wanted: Digest,
        /// Of the bytes.
        got: Digest,
    },
    /// Manifest, config and blobs are not of the same layers.
    #[error(
        "the manifest has {manifest} layers, the config {config}, and there are {blobs} blobs; \
         they should be the same"
    )]
    Layers {
        /// How many the manifest has.
        manifest: usize,
        /// How many the config has.
        config: usize,
        /// How many of the manifest's layers are given as blobs.
        blobs: usize,
    },
}

impl Image {
    /// The image of one platform that these parts are.
    ///
    /// # Errors
    ///
    /// [`PartsError`] if they do not belong together.
    pub(crate) fn of_parts(
        manifest: Bytes,
        config: Bytes,
        blobs: &[Blob],
    ) -> Result<Self, PartsError> {
        let decode = |document| move |source| PartsError::Decode { document, source };
        let decoded: Manifest = serde_json::from_slice(&manifest).map_err(decode("manifest"))?;
        let image: ImageConfig = serde_json::from_slice(&config).map_err(decode("config"))?;
        let got = Digest::sha256(&config);
        if got != decoded.config.digest {
            return Err(PartsError::Config { wanted: decoded.config.digest, got });
        }
        let diff_ids = image.rootfs.diff_ids;
        let counts = (decoded.layers.len(), diff_ids.len());
        let layers: Vec<ImageLayer> = decoded
            .layers
            .into_iter()
            .zip(diff_ids)
            .filter_map(|(descriptor, diff_id)| {
                let blob = blobs.iter().find(|blob| *blob.digest() == descriptor.digest)?.clone();
                let bytes = LayerBytes::Stored(blob);
                Some(ImageLayer { descriptor, diff_id, bytes, origins: Vec::new() })
            })
            .collect();
        if counts != (layers.len(), layers.len()) {
            let (manifest, config) = counts;
            return Err(PartsError::Layers { manifest, config, blobs: layers.len() });
        }
        let root = described(&decoded.media_type, &manifest);
        let platform = PlatformImage {
            platform: image.platform.normalized(),
            manifest: Document { descriptor: root.clone(), bytes: manifest },
            config: Document { descriptor: decoded.config, bytes: config },
            layers,
            files: None,
        };
        Ok(Self { platforms: vec![platform], index: None, attested: Vec::new(), root })
    }
}

fn described(media_type: &str, bytes: &Bytes) -> Descriptor {
    Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
}
