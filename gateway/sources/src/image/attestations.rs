//! What is claimed about an image: the attestations that its index names, and what signs them.
//!
//! Documents are read and checked by digest; whether a signature holds is for whoever asked to say.

use std::collections::BTreeMap;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, Manifest, media_type};
use kiln_registry::{Documents as _, RegistryError};

use crate::image::documents::OriginDocuments;
use crate::image::{Image, ImagePin, Origin};
use crate::source::Context;

/// How an index says that a manifest holds the attestations of another.
const TYPE: (&str, &str) = ("vnd.docker.reference.type", "attestation-manifest");
/// And of which.
const ABOUT: &str = "vnd.docker.reference.digest";
/// The annotation with the predicate type of a statement.
const PREDICATE: &str = "in-toto.io/predicate-type";
/// What signatures are, best first.
const SIGNATURES: &[&str] = &[
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
];

/// What is claimed about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestations {
    /// The index.
    pub root: Digest,
    /// The image.
    pub image: Digest,
    /// The manifest of its attestations, if it has some.
    pub manifest: Option<Digest>,
    /// Manifests of signatures of that.
    pub signatures: Vec<Digest>,
    /// Everything but the image itself.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Image {
    /// What is claimed about an image, with statements of these predicate types; `None` if what its name
    /// means is no index.
    pub(crate) async fn attestations(
        &self,
        pin: &ImagePin,
        root: &Digest,
        image: &Digest,
        kinds: &[String],
        context: &Context,
    ) -> Result<Option<Attestations>, RegistryError> {
        let documents = OriginDocuments { image: self, origin: &pin.origin, context };
        let descriptor = Descriptor::new(media_type::OCI_INDEX, root.clone(), 0);
        let bytes = documents.document(&descriptor).await?;
        let descriptor = super::documents::describe(root, &bytes);
        if descriptor.media_type != media_type::OCI_INDEX {
            return Ok(None);
        }
        let index: Index = decode("index", &bytes)?;
        let mut found = Attestations {
            root: root.clone(),
            image: image.clone(),
            manifest: None,
            signatures: Vec::new(),
            blobs: vec![(descriptor, bytes)],
        };
        let mut manifests = index.manifests.into_iter();
        if let Some(manifest) = manifests.find(|manifest| is_about(&manifest.annotations, image)) {
            let layers = found.add(&documents, manifest.clone()).await?;
            found.manifest = Some(manifest.digest.clone());
            found.add_signature(self, &documents, &manifest.digest).await?;
            let wanted = |layer: &&Descriptor| {
                layer.annotations.get(PREDICATE).is_some_and(|kind| kinds.contains(kind))
            };
            for layer in layers.iter().filter(wanted) {
                let bytes = documents.document(layer).await?;
                found.blobs.push((layer.clone(), bytes));
            }
        }
        Ok(Some(found))
    }
}

impl Attestations {
    /// Adds a manifest, and gives its layers.
    async fn add(
        &mut self,
        documents: &OriginDocuments<'_>,
        descriptor: Descriptor,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let bytes = documents.document(&descriptor).await?;
        let manifest: Manifest = decode("manifest", &bytes)?;
        self.blobs.push((descriptor, bytes));
        Ok(manifest.layers)
    }

    /// Adds the best signature of a manifest.
    async fn add_signature(
        &mut self,
        image: &Image,
        documents: &OriginDocuments<'_>,
        of: &Digest,
    ) -> Result<(), RegistryError> {
        let Origin::Registry(reference) = documents.origin else { return Ok(()) };
        let credentials = documents.context.session.credentials();
        let registry = image.registry_of(documents.context);
        let referrers = registry.referrers(reference, of, &*credentials).await?;
        let rank = |kind: &str| SIGNATURES.iter().position(|known| *known == kind);
        let best = referrers
            .into_iter()
            .filter_map(|referrer| Some((rank(&referrer.artifact_type)?, referrer.descriptor)))
            .min_by_key(|(rank, _)| *rank);
        let Some((_, descriptor)) = best else { return Ok(()) };
        self.signatures.push(descriptor.digest.clone());
        for layer in self.add(documents, descriptor).await? {
            let bytes = documents.document(&layer).await?;
            self.blobs.push((layer, bytes));
        }
        Ok(())
    }
}

fn is_about(annotations: &BTreeMap<String, String>, image: &Digest) -> bool {
    let says = |key: &str, value: &str| annotations.get(key).is_some_and(|said| said == value);
    says(TYPE.0, TYPE.1) && says(ABOUT, image.as_str())
}

fn decode<T: serde::de::DeserializeOwned>(noun: &str, bytes: &[u8]) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| RegistryError::Document {
        subject: "attestations".into(),
        what: format!("the {noun} does not decode: {error}"),
    })
}
