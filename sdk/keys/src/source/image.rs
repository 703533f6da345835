//! Keys of images, of a registry or an OCI layout.
//!
//! An image has two: by the digest its name stood for, and by its layers, so that one that was only
//! labelled anew is found too. Names, registries and stores are in neither.

use kiln_oci::{Digest, Platform};
use kiln_pb::gojson::Object;
use serde::Deserialize;

use super::SourceKey;
use crate::map::KeyError;

/// What the first key of an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct ImageKey<'a> {
    /// What the name stood for: an index, if it is one, else a manifest.
    pub digest: &'a Digest,
    /// The platform the image is for.
    pub platform: &'a Platform,
    /// Only that many layers, from the bottom.
    pub layer_limit: Option<usize>,
}

impl ImageKey<'_> {
    /// The key.
    pub fn key(&self) -> SourceKey {
        let mut json = String::new();
        let mut object = Object::open(&mut json);
        object.always_text("Digest", self.digest.as_str());
        object.always_text("OS", &self.platform.os);
        object.always_text("Arch", &self.platform.architecture);
        object.text("Variant", &self.platform.variant);
        object.text("OSVersion", &self.platform.os_version);
        object.texts("OSFeatures", &self.platform.os_features);
        if let Some(limit) = self.layer_limit {
            object.always("Limit", limit);
        }
        object.close();
        SourceKey::new(Digest::sha256(json).to_string())
    }
}

/// What is read of a config.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    rootfs: Option<RootFs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Not yet known to be digests, and BuildKit does not ask.
    diff_ids: Option<Vec<String>>,
}

/// The second key of an image: the chain of its layers, or the digest of a config that is no JSON.
/// None for an image without layers, which has its first key twice.
///
/// # Errors
///
/// If only some layers are wanted and there are fewer, or they are not known.
pub fn image_content(config: &[u8], limit: Option<usize>) -> Result<Option<SourceKey>, KeyError> {
    let rootfs = match (serde_json::from_slice::<Option<Config>>(config), limit) {
        (Ok(config), _) => config.and_then(|config| config.rootfs).unwrap_or_default(),
        (Err(_), None) => return Ok(Some(SourceKey::new(Digest::sha256(config).to_string()))),
        (Err(_), Some(_)) => return Err(KeyError::Config),
    };
    let mut layers = rootfs.diff_ids.unwrap_or_default();
    if let Some(limit) = limit {
        if layers.len() < limit {
            return Err(KeyError::LayerLimit { layers: layers.len(), limit });
        }
        layers.truncate(limit);
    }
    let is_layers = rootfs.kind.as_deref() == Some("layers");
    let chain = layers
        .into_iter()
        .reduce(|below, layer| Digest::sha256(format!("{below} {layer}")).to_string());
    Ok(chain.filter(|_| is_layers).map(SourceKey::new))
}
