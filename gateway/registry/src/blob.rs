//! Blobs as streams that survive broken connections.
//!
//! A descriptor and an offset come in, bytes go out, exactly as many as the descriptor promises.
//! After a break the stream goes on where it stopped. Whoever writes the bytes hashes them; that
//! is not done here, because a stream that starts in the middle cannot.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, stream};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use kiln_oci::{Descriptor, Digest, Reference};

use crate::challenge::Scopes;
use crate::document::no_endpoint;
use crate::host::{Endpoint, Slot};
use crate::retry::{Failure, Retry};
use crate::transport::{Call, Payload, Reply, Target};
use crate::{Credentials, Registry, RegistryError};

/// Pieces of a blob, in order.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// After a break, this many bytes count as progress and reset the attempts.
const PROGRESS: u64 = 1 << 20;

impl Registry {
    /// Streams a blob from `offset` to its end. Nothing is sent before the stream is polled.
    ///
    /// Dropping the stream ends the request. The bytes are not verified; their number is.
    pub fn blob_stream(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
        credentials: Arc<dyn Credentials>,
    ) -> BlobStream {
        let download = Download {
            registry: self.clone(),
            subject: format!("{}@{}", reference.name(), descriptor.digest),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            credentials,
            position: offset,
            reply: None,
            skip: 0,
            mark: offset,
            retry: self.retry(),
        };
        Box::pin(stream::try_unfold(download, |mut download| async move {
            let chunk = download.next().await?;
            Ok(chunk.map(|chunk| (chunk, download)))
        }))
    }

    /// Whether the repository has a blob. Mirrors are not asked.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked; not having the blob is no error.
    pub fn has_blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<bool, RegistryError>> {
        Box::pin(async move {
            let subject = format!("{}@{}", reference.name(), descriptor.digest);
            let endpoint = self.push_endpoint(reference)?;
            let scopes = Scopes::pull(reference.repository());
            self.has_blob_at(&endpoint, reference, descriptor, &subject, scopes, credentials).await
        })
    }

    /// How many bytes a blob has, as the first place says that is asked for what is pulled.
    ///
    /// # Errors
    ///
    /// When no place has the blob, says its size, or lets the caller have it.
    pub fn blob_size<'a>(
        &'a self,
        reference: &'a Reference,
        digest: &'a Digest,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<u64, RegistryError>> {
        Box::pin(async move {
            let subject = format!("{}@{digest}", reference.name());
            let descriptor = Descriptor::new("", digest.clone(), 0);
            let mut failed = None;
            for endpoint in self.pull_endpoints(reference)? {
                let mut call = blob_call(&subject, reference, &descriptor, Method::HEAD);
                call.slot = Slot::Document;
                let size = match self.send(&endpoint, &call, credentials).await {
                    Ok(reply) if reply.status().is_success() => {
                        let size = reply.header(CONTENT_LENGTH).and_then(|size| size.parse().ok());
                        let what = || "it does not say how large the blob is".to_owned();
                        size.ok_or_else(|| {
                            RegistryError::protocol(&subject, &endpoint.host, what())
                        })
                    }
                    Ok(reply) => Err(reply.into_error(&subject).await),
                    Err(error) => Err(error),
                };
                match size {
                    Ok(size) => return Ok(size),
                    Err(error) => failed = Some(RegistryError::most_telling(failed, error)),
                }
            }
            Err(failed.unwrap_or_else(|| no_endpoint(reference)))
        })
    }

    pub(crate) async fn has_blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
        subject: &str,
        scopes: Scopes,
        credentials: &dyn Credentials,
    ) -> Result<bool, RegistryError> {
        let mut call = blob_call(subject, reference, descriptor, Method::HEAD);
        (call.slot, call.scopes) = (Slot::Document, scopes);
        let reply = self.send(endpoint, &call, credentials).await?;
        match reply.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(reply.into_error(subject).await),
        }
    }
}

fn blob_call<'a>(
    subject: &'a str,
    reference: &Reference,
    descriptor: &Descriptor,
    method: Method,
) -> Call<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // The bytes as they are, because the digest is that of the bytes as they are.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Call {
        subject,
        method,
        target: Target::Path(format!("{}/blobs/{}", reference.repository(), descriptor.digest)),
        headers,
        payload: Payload::Empty,
        scopes: Scopes::pull(reference.repository()),
        slot: Slot::Pull,
    }
}

/// A blob on its way.
struct Download {
    registry: Registry,
    subject: String,
    reference: Reference,
    descriptor: Descriptor,
    credentials: Arc<dyn Credentials>,
    /// Bytes up to here were given out.
    position: u64,
    reply: Option<Reply>,
    /// Bytes to throw away, if the server started before `position`.
    skip: u64,
    retry: Retry,
    /// Where the last failure was.
    mark: u64,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.position == self.descriptor.size && self.reply.is_none() {
                return Ok(None);
            }
            let failure = match self.step().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) if self.position == self.descriptor.size => return Ok(None),
                Ok(None) => {
                    let (got, size) = (self.position, self.descriptor.size);
                    let what = format!("the blob ended after {got} of {size} bytes");
                    let host = self.reference.domain();
                    Failure::Passing(RegistryError::protocol(&self.subject, host, what), None)
                }
                Err(failure) => failure,
            };
            // What is begun anew goes on where this one stopped.
            self.reply = None;
            if self.position - self.mark >= PROGRESS {
                self.mark = self.position;
                self.retry.progressed();
            }
            self.registry.wait(&mut self.retry, failure).await?;
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(reply) = &mut self.reply else {
                self.reply = Some(self.open().await?);
                continue;
            };
            let Some(mut chunk) = reply.chunk(&self.subject).await? else {
                self.reply = None;
                return Ok(None);
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            // `skipped` is not more than the length, which is a usize.
            let _skipped_bytes = chunk.split_to(skipped as usize);
            if chunk.is_empty() {
                continue;
            }
            let size = self.descriptor.size;
            if chunk.len() as u64 > size - self.position {
                let subject = self.subject.clone();
                return Err(RegistryError::TooLarge { subject, limit: size }.into());
            }
            self.position += chunk.len() as u64;
            return Ok(Some(chunk));
        }
    }

    /// Opens the blob at the first place that has it.
    async fn open(&mut self) -> Result<Reply, Failure> {
        if self.position > self.descriptor.size {
            let what = format!("offset {} is behind the end of the blob", self.position);
            let host = self.reference.domain();
            return Err(RegistryError::protocol(&self.subject, host, what).into());
        }
        let mut failed = None;
        for endpoint in self.registry.pull_endpoints(&self.reference)? {
            match self.open_at(&endpoint).await {
                Ok((reply, skip)) => {
                    self.skip = skip;
                    return Ok(reply);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| no_endpoint(&self.reference).into()))
    }

    /// Opens the blob, and says how many bytes the server starts too early.
    async fn open_at(&self, endpoint: &Endpoint) -> Result<(Reply, u64), Failure> {
        let mut call = blob_call(&self.subject, &self.reference, &self.descriptor, Method::GET);
        if self.position > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", self.position));
            let range = range.map_err(|_| no_endpoint(&self.reference))?;
            call.headers.insert(RANGE, range);
        }
        let reply = self.registry.send_once(endpoint, &call, &*self.credentials).await?;
        match reply.status() {
            StatusCode::OK => Ok((reply, self.position)),
            StatusCode::PARTIAL_CONTENT => {
                let start = reply.header(CONTENT_RANGE).and_then(range_start).unwrap_or_default();
                match self.position.checked_sub(start) {
                    Some(early) => Ok((reply, early)),
                    None => {
                        let what = format!("asked for bytes from {}, got {start}", self.position);
                        Err(RegistryError::protocol(&self.subject, &endpoint.host, what).into())
                    }
                }
            }
            _ => Err(reply.into_error(&self.subject).await.into()),
        }
    }
}

/// The first byte of `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
