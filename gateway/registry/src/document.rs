//! Small things read as a whole: manifests, indexes and configs, always checked by digest.
//!
//! A reference and a descriptor come in, verified bytes go out, never more than
//! [`DOCUMENT_LIMIT`] of them.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use kiln_oci::{Descriptor, Digest, MediaKind, Reference, media_type};
use sha2::Digest as _;

use crate::challenge::Scopes;
use crate::host::{Endpoint, Slot};
use crate::retry::Failure;
use crate::transport::{Call, Payload, Target};
use crate::{Credentials, Registry, RegistryError};

/// Manifests, indexes and configs are not larger than this.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The documents Kiln can read, best first.
const ACCEPTED: &[&str] = &[
    media_type::OCI_INDEX,
    media_type::DOCKER_INDEX,
    media_type::OCI_MANIFEST,
    media_type::DOCKER_MANIFEST,
    "*/*",
];

/// Checks that bytes are those a digest names.
///
/// # Errors
///
/// [`RegistryError::DigestMismatch`], with the digest of the bytes as they are.
pub fn verify(bytes: &[u8], wanted: &Digest, subject: &str) -> Result<(), RegistryError> {
    let sum = match wanted.algorithm() {
        "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
        "sha384" => hex::encode(sha2::Sha384::digest(bytes)),
        _ => hex::encode(sha2::Sha256::digest(bytes)),
    };
    if sum == wanted.hex() {
        return Ok(());
    }
    let got = format!("{}:{sum}", wanted.algorithm()).parse();
    Err(RegistryError::DigestMismatch {
        subject: subject.to_owned(),
        wanted: wanted.clone(),
        got: got.unwrap_or_else(|_| Digest::sha256(bytes)),
    })
}

/// A manifest or index as a registry gave it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
    /// Nothing of the caller's was shown for it.
    pub(crate) is_public: bool,
}

impl Registry {
    /// Fetches a manifest, index, config or other small blob by its descriptor.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; content that is too large or does not have the digest is refused.
    pub fn document<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            let subject = format!("{}@{}", reference.name(), descriptor.digest);
            if descriptor.size > DOCUMENT_LIMIT {
                return Err(RegistryError::TooLarge { subject, limit: DOCUMENT_LIMIT });
            }
            let kind = match MediaKind::of(&descriptor.media_type) {
                MediaKind::Index | MediaKind::Manifest => "manifests",
                MediaKind::Other => "blobs",
            };
            let tail = format!("{kind}/{}", descriptor.digest);
            let check = |fetched: &Fetched| verify(&fetched.bytes, &descriptor.digest, &subject);
            Ok(self.fetch(reference, &subject, &tail, credentials, check).await?.bytes)
        })
    }

    /// Asks one place after the other until one has what passes `check`.
    pub(crate) async fn fetch(
        &self,
        reference: &Reference,
        subject: &str,
        tail: &str,
        credentials: &dyn Credentials,
        check: impl Fn(&Fetched) -> Result<(), RegistryError>,
    ) -> Result<Fetched, RegistryError> {
        let mut failed = None;
        for endpoint in self.pull_endpoints(reference)? {
            let fetched = self.fetch_from(&endpoint, reference, subject, tail, credentials).await;
            match fetched.and_then(|fetched| check(&fetched).map(|()| fetched)) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    tracing::debug!(host = endpoint.host, %error, "no document from this host");
                    failed = Some(RegistryError::most_telling(failed, error));
                }
            }
        }
        Err(failed.unwrap_or_else(|| no_endpoint(reference)))
    }

    async fn fetch_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        subject: &str,
        tail: &str,
        credentials: &dyn Credentials,
    ) -> Result<Fetched, RegistryError> {
        let call = document_call(subject, reference, Method::GET, tail);
        let mut retry = self.retry();
        loop {
            match self.fetch_once(endpoint, &call, credentials).await {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => self.wait(&mut retry, failure).await?,
            }
        }
    }

    async fn fetch_once(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        credentials: &dyn Credentials,
    ) -> Result<Fetched, Failure> {
        let reply = self.send_once(endpoint, call, credentials).await?;
        if !reply.status().is_success() {
            return Err(reply.into_error(call.subject).await.into());
        }
        let media_type = reply.header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let is_public = reply.is_public;
        let bytes = reply.bytes(DOCUMENT_LIMIT, call.subject).await?;
        Ok(Fetched { media_type, bytes, is_public })
    }
}

pub(crate) fn no_endpoint(reference: &Reference) -> RegistryError {
    RegistryError::Config {
        host: reference.domain().to_owned(),
        what: "no address to ask".to_owned(),
    }
}

/// A request for a document of a repository.
pub(crate) fn document_call<'a>(
    subject: &'a str,
    reference: &Reference,
    method: Method,
    tail: &str,
) -> Call<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accepted());
    Call {
        subject,
        method,
        target: Target::Path(format!("{}/{tail}", reference.repository())),
        headers,
        payload: Payload::Empty,
        scopes: Scopes::pull(reference.repository()),
        slot: Slot::Document,
    }
}

fn accepted() -> HeaderValue {
    HeaderValue::try_from(ACCEPTED.join(", ")).unwrap_or(HeaderValue::from_static("*/*"))
}
