//! Manifests, indexes and configs of images: remembered by digest, else read from where the image is.
//!
//! What is remembered says nothing about who may have it: the root of an image is always asked for
//! where the image is (see [`super::resolve`]), and what it names may then be read from memory.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{DOCUMENT_LIMIT, Documents, RegistryError, media_type_of, verify};

use crate::image::{Image, ImageError, Origin};
use crate::source::Context;
use crate::state::DOCUMENTS;

/// Documents that are larger are read from their origin each time.
const LARGEST_REMEMBERED: usize = 512 << 10;

impl Image {
    /// The root of an image in a layout of the client, which has to have it.
    pub(super) async fn root_of_layout(
        &self,
        origin: &Origin,
        digest: &Digest,
        context: &Context,
    ) -> Result<Descriptor, RegistryError> {
        let unknown = Descriptor::new("", digest.clone(), 0);
        let bytes = self.document_of_layout(origin, &unknown, context).await?;
        self.remember(digest, &bytes).await;
        Ok(describe(digest, &bytes))
    }

    /// A manifest, index or config: as remembered, else from its origin.
    async fn document(
        &self,
        origin: &Origin,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Bytes, RegistryError> {
        let digest = &descriptor.digest;
        if let Some(bytes) = self.remembered(digest).await {
            return Ok(bytes);
        }
        let bytes = match origin {
            Origin::Store { image, .. } => {
                let bytes = image.documents.document(descriptor).await?;
                verify(&bytes, digest, &format!("{origin}: {digest}"))?;
                return Ok(bytes);
            }
            Origin::Registry(reference) => {
                let credentials = context.session.credentials();
                self.registry_of(context).document(reference, descriptor, &*credentials).await?
            }
            Origin::Layout { .. } => self.document_of_layout(origin, descriptor, context).await?,
        };
        self.remember(digest, &bytes).await;
        Ok(bytes)
    }

    async fn document_of_layout(
        &self,
        origin: &Origin,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Bytes, RegistryError> {
        let subject = format!("{origin}: {}", descriptor.digest);
        let (session, store) = match origin {
            Origin::Layout { session, store, .. } => (session.clone(), store.clone()),
            _ => Default::default(),
        };
        let failed = |source| {
            let (store, subject) = (store.clone(), subject.clone());
            RegistryError::Elsewhere(Box::new(ImageError::Layout { store, subject, source }))
        };
        let mut stream = context.session.layout_blob(&session, &store, &descriptor.digest, 0);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.try_next().await.map_err(&failed)? {
            if (bytes.len() + chunk.len()) as u64 > DOCUMENT_LIMIT {
                return Err(RegistryError::TooLarge { subject, limit: DOCUMENT_LIMIT });
            }
            bytes.extend_from_slice(&chunk);
        }
        verify(&bytes, &descriptor.digest, &subject)?;
        Ok(bytes.freeze())
    }

    pub(super) async fn remember(&self, digest: &Digest, bytes: &[u8]) {
        if bytes.len() <= LARGEST_REMEMBERED {
            self.state.put_bytes(&DOCUMENTS, digest.as_str(), bytes).await;
        }
    }

    /// A document that was read before. What does not have the digest any more is not used.
    pub(super) async fn remembered(&self, digest: &Digest) -> Option<Bytes> {
        let bytes = self.state.get_bytes(&DOCUMENTS, digest.as_str()).await?;
        verify(&bytes, digest, "").ok().map(|()| bytes.into())
    }
}

/// Describes a manifest or index by its bytes.
pub(super) fn describe(digest: &Digest, bytes: &[u8]) -> Descriptor {
    Descriptor::new(&media_type_of(bytes), digest.clone(), bytes.len() as u64)
}

/// Documents of one image, on their way to a plan.
pub(super) struct OriginDocuments<'a> {
    pub(super) image: &'a Image,
    pub(super) origin: &'a Origin,
    pub(super) context: &'a Context,
}

#[async_trait]
impl Documents for OriginDocuments<'_> {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        self.image.document(self.origin, descriptor, self.context).await
    }
}

/// Documents that are remembered, and no others.
pub(super) struct RememberedDocuments<'a>(pub(super) &'a Image);

#[async_trait]
impl Documents for RememberedDocuments<'_> {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        let bytes = self.0.remembered(&descriptor.digest).await;
        bytes.ok_or_else(|| RegistryError::Document {
            subject: descriptor.digest.to_string(),
            what: "it is not here".to_owned(),
        })
    }
}
