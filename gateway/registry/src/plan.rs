//! From an image to what has to be pulled for one platform.
//!
//! The descriptor of a manifest or index comes in, an [`ImagePlan`] goes out. Where documents come
//! from is the business of a [`Documents`]: a registry, a layout on the client's disk, the store.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_oci::{Descriptor, ImageConfig, Index, Manifest, MediaKind, Platform, Reference};

use crate::{Credentials, Registry, RegistryError};

/// Indexes within indexes are followed this deep.
const DEEPEST: usize = 4;

/// Gives documents by descriptor, verified.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The bytes of a manifest, index or config.
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError>;
}

/// All that must be known before layers are pulled.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// What the reference named: an index, or the manifest itself.
    pub root: Descriptor,
    /// The manifest of the platform.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub manifest_bytes: Bytes,
    /// The same, decoded.
    pub manifest: Manifest,
    /// The bytes of the image config.
    pub config_bytes: Bytes,
    /// The same, decoded.
    pub config: ImageConfig,
}

impl ImagePlan {
    /// The layers, bottom first; as many as the config has diff ids.
    pub fn layers(&self) -> &[Descriptor] {
        &self.manifest.layers
    }

    /// Reads what `root` names, down to the config for `platform`.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPlatform`] names the platforms there are; [`RegistryError::Document`]
    /// says what is wrong with an image that cannot be used.
    pub fn read<'a>(
        subject: &'a str,
        root: Descriptor,
        platform: &'a Platform,
        documents: &'a dyn Documents,
    ) -> BoxFuture<'a, Result<Self, RegistryError>> {
        Box::pin(async move {
            let mut descriptor = root.clone();
            for _ in 0..DEEPEST {
                let bytes = documents.document(&descriptor).await?;
                match MediaKind::of(&descriptor.media_type) {
                    MediaKind::Index => descriptor = select(subject, &bytes, platform)?,
                    MediaKind::Manifest => {
                        let manifest = decode::<Manifest>(subject, "manifest", &bytes)?;
                        return Self::finish(subject, root, descriptor, bytes, manifest, documents)
                            .await;
                    }
                    MediaKind::Other => {
                        let what = format!(
                            "media type `{}` is not an image",
                            shown(&descriptor.media_type)
                        );
                        return Err(RegistryError::Document { subject: subject.into(), what });
                    }
                }
            }
            let what = format!("more than {DEEPEST} indexes within each other");
            Err(RegistryError::Document { subject: subject.into(), what })
        })
    }

    async fn finish(
        subject: &str,
        root: Descriptor,
        descriptor: Descriptor,
        manifest_bytes: Bytes,
        manifest: Manifest,
        documents: &dyn Documents,
    ) -> Result<Self, RegistryError> {
        let config_bytes = documents.document(&manifest.config).await?;
        let config = decode::<Option<ImageConfig>>(subject, "config", &config_bytes)?;
        let bad = |what: String| RegistryError::Document { subject: subject.into(), what };
        let config = config.ok_or_else(|| bad("the image config is null".into()))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            let what = format!("mismatched image rootfs: {layers} layers, {diff_ids} diff ids");
            return Err(bad(what));
        }
        Ok(Self { root, descriptor, manifest_bytes, manifest, config_bytes, config })
    }
}

impl Registry {
    /// Resolves a reference and reads all that must be known before layers are pulled.
    ///
    /// # Errors
    ///
    /// Those of [`Registry::resolve`] and [`ImagePlan::read`].
    pub fn pull_image_plan<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<ImagePlan, RegistryError>> {
        Box::pin(async move {
            let resolved = self.resolve(reference, credentials).await?;
            let first = resolved.bytes.map(|bytes| (resolved.descriptor.clone(), bytes));
            let documents = RegistryDocuments { registry: self, reference, credentials, first };
            ImagePlan::read(&reference.to_string(), resolved.descriptor, platform, &documents).await
        })
    }
}

/// Documents of one repository, with the one that is here already.
struct RegistryDocuments<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    credentials: &'a dyn Credentials,
    first: Option<(Descriptor, Bytes)>,
}

#[async_trait]
impl Documents for RegistryDocuments<'_> {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        match &self.first {
            Some((known, bytes)) if known.digest == descriptor.digest => Ok(bytes.clone()),
            _ => self.registry.document(self.reference, descriptor, self.credentials).await,
        }
    }
}

fn select(subject: &str, bytes: &[u8], platform: &Platform) -> Result<Descriptor, RegistryError> {
    let index = decode::<Index>(subject, "index", bytes)?;
    index.select(platform).cloned().ok_or_else(|| {
        // Attestations stand in the index as manifests for `unknown/unknown`.
        let mut found: Vec<String> = index
            .manifests
            .iter()
            .filter_map(|manifest| manifest.platform.as_ref())
            .map(|platform| shown(&platform.format_all()))
            .filter(|text| text != "unknown/unknown")
            .collect();
        found.sort();
        found.dedup();
        found.truncate(40);
        RegistryError::NoPlatform {
            subject: subject.into(),
            wanted: platform.format_all(),
            found: if found.is_empty() { "none".into() } else { found.join(", ") },
        }
    })
}

fn decode<T: serde::de::DeserializeOwned>(
    subject: &str,
    noun: &str,
    bytes: &[u8],
) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::Document {
        subject: subject.into(),
        what: format!("the {noun} does not decode: {}", shown(&error.to_string())),
    })
}

/// Foreign text, made fit for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
