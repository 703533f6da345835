//! Blobs and manifests into a registry.
//!
//! Content comes in with its descriptor; what the registry has already is not sent again. A blob
//! can be sent more than once, so its [`BodySource`] must be able to start over.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use kiln_oci::{Descriptor, Digest, Reference};
use url::Url;

use crate::challenge::Scopes;
use crate::host::{Endpoint, Slot};
use crate::retry::Failure;
use crate::transport::{Call, Payload, Target};
use crate::{Credentials, Registry, RegistryError};

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The repository had it already.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// The content of a blob, from the beginning, as often as it is wanted.
pub trait BodySource: Send + Sync {
    /// All bytes, as many as the descriptor says.
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>>;
}

impl BodySource for Bytes {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        Box::pin(stream::iter([Ok(self.clone())]))
    }
}

/// Tells a failure to read apart from a failure to send.
#[derive(Debug)]
pub(crate) struct BodyError(pub(crate) io::Error);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("content could not be read")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Registry {
    /// Puts a blob into the repository of `reference`.
    ///
    /// `origins` are repositories of the same registry that may have it; the registry is asked to
    /// take it over from there before it is sent.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Body`] if the content could not be read, and what the network brings.
    pub fn push_blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        source: Arc<dyn BodySource>,
        origins: &'a [String],
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<Pushed, RegistryError>> {
        Box::pin(async move {
            let subject = format!("{}@{}", reference.name(), descriptor.digest);
            let endpoint = self.push_endpoint(reference)?;
            let upload = Upload { registry: self, endpoint, reference, descriptor, credentials };
            let (registry, scopes) = (self, Scopes::push(reference.repository()));
            let exists = registry
                .has_blob_at(&upload.endpoint, reference, descriptor, &subject, scopes, credentials)
                .await?;
            if exists {
                return Ok(Pushed::Existed);
            }
            let mut location = None;
            for origin in origins.iter().filter(|origin| *origin != reference.repository()).take(3)
            {
                // A mount that is refused opens an upload, which is used below.
                match upload.mount(&subject, origin).await {
                    Ok(Some(opened)) => location = Some(opened),
                    Ok(None) => return Ok(Pushed::Mounted),
                    Err(error) if error.is_unreachable() => return Err(error),
                    // Who may write here need not be allowed to read there.
                    Err(error) => tracing::debug!(%error, origin, "a blob is sent, not taken over"),
                }
            }
            upload.send(&subject, location, source).await?;
            Ok(Pushed::Uploaded)
        })
    }

    /// Puts a manifest or index under the tag of `reference`, or under its digest if there is no
    /// tag, and gives its digest.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Status`] with the registry's words if blobs are missing.
    pub fn push_manifest<'a>(
        &'a self,
        reference: &'a Reference,
        media_type: &'a str,
        bytes: Bytes,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        Box::pin(async move {
            let subject = reference.to_string();
            let digest = Digest::sha256(&bytes);
            let target = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
            let endpoint = self.push_endpoint(reference)?;
            let content_type = HeaderValue::try_from(media_type).map_err(|_| {
                let what = "the media type has characters no header can carry".to_owned();
                RegistryError::Document { subject: subject.clone(), what }
            })?;
            let call = Call {
                subject: &subject,
                method: Method::PUT,
                target: Target::Path(format!("{}/manifests/{target}", reference.repository())),
                headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
                payload: Payload::Bytes(bytes),
                scopes: Scopes::push(reference.repository()),
                slot: Slot::Document,
            };
            let reply = self.send(&endpoint, &call, credentials).await?;
            if !reply.status().is_success() {
                return Err(reply.into_error(&subject).await);
            }
            let stored =
                reply.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
            match stored {
                // The registry may name it by another algorithm, but not by another sum.
                Some(stored) if stored.algorithm() == "sha256" && stored != digest => {
                    let what = format!("it stored {stored} instead of {digest}");
                    Err(RegistryError::protocol(&subject, &endpoint.host, what))
                }
                _ => Ok(digest),
            }
        })
    }
}

/// One blob on its way up.
struct Upload<'a> {
    registry: &'a Registry,
    endpoint: Endpoint,
    reference: &'a Reference,
    descriptor: &'a Descriptor,
    credentials: &'a dyn Credentials,
}

impl Upload<'_> {
    /// Asks for a blob of another repository; gives the upload that was opened instead if the
    /// registry does not know or not allow that.
    async fn mount(&self, subject: &str, origin: &str) -> Result<Option<Url>, RegistryError> {
        let mut scopes = Scopes::push(self.reference.repository());
        scopes.merge(&Scopes::pull(origin));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("mount", self.descriptor.digest.as_str())
            .append_pair("from", origin)
            .finish();
        self.start(subject, &format!("?{query}"), scopes).await
    }

    /// Opens an upload; `None` if there is nothing left to upload.
    async fn start(
        &self,
        subject: &str,
        query: &str,
        scopes: Scopes,
    ) -> Result<Option<Url>, RegistryError> {
        let path = format!("{}/blobs/uploads/{query}", self.reference.repository());
        let call = Call {
            subject,
            method: Method::POST,
            target: Target::Path(path),
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            scopes,
            slot: Slot::Document,
        };
        let reply = self.registry.send(&self.endpoint, &call, self.credentials).await?;
        match reply.status().as_u16() {
            201 => Ok(None),
            202 => {
                let headers = reply.response.headers();
                self.endpoint.follow(&reply.url, headers, subject).map(Some)
            }
            _ => Err(reply.into_error(subject).await),
        }
    }

    /// Sends the whole blob with one PUT, and starts over with a new upload if that breaks.
    async fn send(
        &self,
        subject: &str,
        mut location: Option<Url>,
        source: Arc<dyn BodySource>,
    ) -> Result<(), RegistryError> {
        let mut retry = self.registry.retry();
        loop {
            let scopes = Scopes::push(self.reference.repository());
            let url = match location.take() {
                Some(url) => url,
                None => match self.start(subject, "", scopes.clone()).await? {
                    Some(url) => url,
                    None => return Ok(()),
                },
            };
            match self.put(subject, url, scopes, Arc::clone(&source)).await {
                Ok(()) => return Ok(()),
                Err(failure) => self.registry.wait(&mut retry, failure).await?,
            }
        }
    }

    async fn put(
        &self,
        subject: &str,
        mut url: Url,
        scopes: Scopes,
        source: Arc<dyn BodySource>,
    ) -> Result<(), Failure> {
        url.query_pairs_mut().append_pair("digest", self.descriptor.digest.as_str());
        let octets = HeaderValue::from_static("application/octet-stream");
        let call = Call {
            subject,
            method: Method::PUT,
            target: Target::Url(url),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, octets)]),
            payload: Payload::Stream { len: self.descriptor.size, source },
            scopes,
            slot: Slot::Push,
        };
        let reply = self.registry.send_once(&self.endpoint, &call, self.credentials).await?;
        match reply.status().as_u16() {
            200 | 201 | 204 => Ok(()),
            // An upload that broke may be gone on the server; another one may not be.
            404 | 416 => Err(Failure::Passing(reply.into_error(subject).await, None)),
            _ => Err(reply.into_error(subject).await.into()),
        }
    }
}
