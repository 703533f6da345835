//! What came of a build: images with their platforms and layers.

use serde_json::Value;

/// No more images of an index, and no more layers of an image are shown.
const MAX_IMAGES: usize = 64;
const MAX_LAYERS: usize = 256;

/// A result that was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its media type.
    pub(crate) media_type: String,
    /// Its digest.
    pub(crate) digest: String,
    /// The size of the manifest or index, in bytes.
    pub(crate) size: i64,
    /// The images in it, as far as their manifests could be read.
    pub(crate) images: Vec<ImageManifest>,
}

/// An image of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageManifest {
    /// Its digest.
    pub(crate) digest: String,
    /// What it runs on, as `linux/amd64`; empty if that is not said.
    pub(crate) platform: String,
    /// Digests and sizes of its layers, in bytes; for an attestation, of its statements.
    pub(crate) layers: Vec<(String, u64)>,
}

impl ImageManifest {
    /// The images that an index lists; their manifests have yet to be read.
    pub(crate) fn of_index(document: &[u8]) -> Vec<Self> {
        let Ok(index) = serde_json::from_slice::<Value>(document) else { return Vec::new() };
        let manifests = index.get("manifests").and_then(Value::as_array).into_iter().flatten();
        let manifests = manifests.map(|manifest| {
            let word = |name: &str| manifest.pointer(name).and_then(Value::as_str);
            let kind = word("/annotations/vnd.docker.reference.type");
            let part = |name: &str| word(name).filter(|part| !part.is_empty());
            let platform = ["/platform/os", "/platform/architecture", "/platform/variant"];
            let platform: Vec<&str> = platform.iter().filter_map(|name| part(name)).collect();
            Self {
                digest: word("/digest").unwrap_or_default().to_owned(),
                platform: match kind {
                    Some("attestation-manifest") => "attestations".to_owned(),
                    _ => platform.join("/"),
                },
                layers: Vec::new(),
            }
        });
        manifests.take(MAX_IMAGES).collect()
    }

    /// The same with the layers that its manifest lists.
    pub(crate) fn with_layers(self, document: &[u8]) -> Self {
        let Ok(manifest) = serde_json::from_slice::<Value>(document) else { return self };
        let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
        let layers = layers.filter_map(|layer| {
            let digest = layer.get("digest")?.as_str()?.to_owned();
            Some((digest, layer.get("size").and_then(Value::as_u64).unwrap_or(0)))
        });
        Self { layers: layers.take(MAX_LAYERS).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_lists_images_and_a_manifest_layers() {
        let index = br#"{"manifests": [
            {"digest": "sha256:a", "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": "sha256:b", "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
            7]}"#;
        let images = ImageManifest::of_index(index);
        let shown: Vec<&str> = images.iter().map(|image| image.platform.as_str()).collect();
        assert_eq!(shown, ["linux/arm/v7", "attestations", ""]);
        let manifest = br#"{"layers": [{"digest": "sha256:c", "size": 7}, {"size": 1}]}"#;
        let image = images[0].clone().with_layers(manifest);
        assert_eq!(image.layers, [("sha256:c".to_owned(), 7)]);
        assert_eq!(images[0].clone().with_layers(b"no"), images[0]);
    }
}
