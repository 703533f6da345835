//! From a name to a digest.
//!
//! A reference comes in, the descriptor of what it names now goes out. A HEAD request is enough
//! for most registries, and cheap on those that count downloads; otherwise the document is
//! fetched and hashed here.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use kiln_oci::{Descriptor, Digest, MediaKind, Reference, media_type};

use crate::document::{DOCUMENT_LIMIT, Fetched, document_call, no_endpoint, verify};
use crate::host::Endpoint;
use crate::transport::Reply;
use crate::{Credentials, Registry, RegistryError};

/// What a reference names.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The reference with the digest added.
    pub reference: Reference,
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// Its bytes, if they had to be fetched to find out.
    pub bytes: Option<Bytes>,
    /// Whoever asks is told the same: nothing of the caller's was shown for it.
    pub is_public: bool,
}

impl Registry {
    /// Finds out what a reference names.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NotFound`] if there is no such image, and what the network brings.
    pub fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<Resolved, RegistryError>> {
        Box::pin(async move {
            let subject = reference.to_string();
            let tail = match (reference.digest(), reference.tag()) {
                (Some(digest), _) => format!("manifests/{digest}"),
                (None, tag) => format!("manifests/{}", tag.unwrap_or("latest")),
            };
            let mut failed = None;
            for endpoint in self.pull_endpoints(reference)? {
                match self.resolve_at(&endpoint, reference, &subject, &tail, credentials).await {
                    Ok(Some((descriptor, is_public))) => {
                        let reference = reference.with_digest(descriptor.digest.clone());
                        return Ok(Resolved { reference, descriptor, bytes: None, is_public });
                    }
                    Ok(None) => {
                        let check = |fetched: &Fetched| match reference.digest() {
                            Some(digest) => verify(&fetched.bytes, digest, &subject),
                            None => Ok(()),
                        };
                        let fetched =
                            self.fetch(reference, &subject, &tail, credentials, check).await?;
                        return Ok(resolved_by_bytes(reference, fetched));
                    }
                    Err(error) => failed = Some(RegistryError::most_telling(failed, error)),
                }
            }
            Err(failed.unwrap_or_else(|| no_endpoint(reference)))
        })
    }

    /// Asks with HEAD; `None` if the answer does not say enough.
    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        subject: &str,
        tail: &str,
        credentials: &dyn Credentials,
    ) -> Result<Option<(Descriptor, bool)>, RegistryError> {
        let call = document_call(subject, reference, Method::HEAD, tail);
        let reply = match self.send(endpoint, &call, credentials).await {
            // An answer to HEAD has no body, so it says why only when asked with GET.
            Err(RegistryError::RateLimited { .. } | RegistryError::Status { .. }) => {
                return Ok(None);
            }
            reply => reply?,
        };
        match reply.status().as_u16() {
            200 => {
                let described = head_descriptor(&reply, reference, subject, &endpoint.host)?;
                Ok(described.map(|descriptor| (descriptor, reply.is_public)))
            }
            404 => Err(reply.into_error(subject).await),
            // The same.
            _ => Ok(None),
        }
    }
}

fn head_descriptor(
    reply: &Reply,
    reference: &Reference,
    subject: &str,
    host: &str,
) -> Result<Option<Descriptor>, RegistryError> {
    let digest = reply.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
    let size = reply.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let media_type = reply.header(CONTENT_TYPE).unwrap_or_default();
    let known = MediaKind::of(media_type) != MediaKind::Other;
    let (Some(digest), Some(size), true) = (digest, size, known) else { return Ok(None) };
    if size > DOCUMENT_LIMIT {
        return Err(RegistryError::TooLarge { subject: subject.into(), limit: DOCUMENT_LIMIT });
    }
    match reference.digest() {
        Some(wanted) if *wanted != digest => {
            let what = format!("asked for {wanted}, it offered {digest}");
            Err(RegistryError::protocol(subject, host, what))
        }
        _ => Ok(Some(Descriptor::new(bare(media_type), digest, size))),
    }
}

fn resolved_by_bytes(reference: &Reference, fetched: Fetched) -> Resolved {
    let Fetched { media_type, bytes, is_public } = fetched;
    let digest = reference.digest().cloned().unwrap_or_else(|| Digest::sha256(&bytes));
    let media_type = match MediaKind::of(&media_type) {
        MediaKind::Other => media_type_of(&bytes),
        _ => bare(&media_type).to_owned(),
    };
    let descriptor = Descriptor::new(&media_type, digest.clone(), bytes.len() as u64);
    let reference = reference.with_digest(digest);
    Resolved { reference, descriptor, bytes: Some(bytes), is_public }
}

/// The media type that a manifest or index gives itself, for those who were not told.
pub fn media_type_of(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        media_type: String,
        manifests: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Shape>(bytes) {
        Ok(shape) if !shape.media_type.is_empty() => shape.media_type,
        Ok(Shape { manifests: Some(_), .. }) => media_type::OCI_INDEX.into(),
        _ => media_type::OCI_MANIFEST.into(),
    }
}

/// A media type without its parameters.
fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
