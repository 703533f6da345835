//! One request to one host, with everything that belongs to it: a free slot, authorization,
//! redirects, retries.
//!
//! A [`Call`] goes in, the first final answer comes out, whatever its status. Authorization is
//! never sent to a host other than the registry's own. Nothing here knows what an image is.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use crate::auth::{Ask, Authorizer, Grant};
use crate::challenge::{Challenge, Scopes};
use crate::error::{RegistryError, ServerSaid};
use crate::host::{Endpoint, Slot};
use crate::pace::{TooSlow, Watch};
use crate::push::{BodyError, BodySource};
use crate::retry::{Failure, is_passing, retry_after};
use crate::upload::Sent;
use crate::{Credentials, Options};

/// More redirects than this are a loop.
const MOST_REDIRECTS: usize = 10;
/// Of an error document, this much is read.
const ERROR_LIMIT: u64 = 64 << 10;

/// Where a request goes.
#[derive(Clone)]
pub(crate) enum Target {
    /// Below the registry's API, such as `library/alpine/manifests/latest`.
    Path(String),
    /// Where the registry pointed to.
    Url(Url),
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    Stream { len: u64, source: Arc<dyn BodySource> },
}

/// One request.
pub(crate) struct Call<'a> {
    /// What it is about, for messages.
    pub(crate) subject: &'a str,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) scopes: Scopes,
    pub(crate) slot: Slot,
}

/// One answer. The slot is free again when it is dropped.
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// The URL that answered.
    pub(crate) url: Url,
    /// Whoever had asked would have had this answer: nothing of the caller's was shown for it.
    pub(crate) is_public: bool,
    watch: Watch,
    endpoint: Endpoint,
    _permit: OwnedSemaphorePermit,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Reads the whole answer, but not more than `limit` bytes.
    pub(crate) async fn bytes(self, limit: u64, subject: &str) -> Result<Bytes, Failure> {
        read_bounded(self.response, limit, &self.endpoint, subject).await
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self, subject: &str) -> Result<Option<Bytes>, Failure> {
        next_chunk(&mut self.response, &mut self.watch, &self.endpoint, subject).await
    }

    /// What this answer means as a failure.
    pub(crate) async fn into_error(self, subject: &str) -> RegistryError {
        let status = self.status();
        let (subject, host) = (subject.to_owned(), self.endpoint.host.clone());
        let said = match read_bounded(self.response, ERROR_LIMIT, &self.endpoint, "").await {
            Ok(body) => ServerSaid::of(&body),
            Err(_) => ServerSaid::default(),
        };
        match status {
            StatusCode::UNAUTHORIZED => RegistryError::Unauthorized { subject, host, said },
            StatusCode::FORBIDDEN => RegistryError::Denied { subject, host, said },
            StatusCode::NOT_FOUND => RegistryError::NotFound { subject, host, said },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { subject, host, said },
            status => RegistryError::Status { subject, host, status: status.as_u16(), said },
        }
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bounded(
    mut response: Response,
    limit: u64,
    endpoint: &Endpoint,
    subject: &str,
) -> Result<Bytes, Failure> {
    let mut watch = Watch::new(endpoint.pace());
    let too_large =
        || Failure::Final(RegistryError::TooLarge { subject: subject.to_owned(), limit });
    if response.content_length().is_some_and(|announced| announced > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = next_chunk(&mut response, &mut watch, endpoint, subject).await? {
        if body.len() as u64 + chunk.len() as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn next_chunk(
    response: &mut Response,
    watch: &mut Watch,
    endpoint: &Endpoint,
    subject: &str,
) -> Result<Option<Bytes>, Failure> {
    let host = &endpoint.host;
    let len = |piece: &reqwest::Result<Option<Bytes>>| match piece {
        Ok(Some(bytes)) => bytes.len(),
        // The end of the answer is not late.
        _ => usize::MAX >> 1,
    };
    let piece = watch.next(response.chunk(), len).await;
    let piece = piece.map_err(|fault| endpoint.stalled(host, subject, fault))?;
    piece.map_err(|error| Failure::Passing(RegistryError::network(host, error), None))
}

/// Sends calls.
pub(crate) struct Transport {
    pub(crate) options: Options,
    pub(crate) authorizer: Authorizer,
}

impl Transport {
    /// Sends a call once: challenges that can be met and redirects are followed. An answer that says
    /// that the server is busy or broken for the moment is a failure.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        credentials: &dyn Credentials,
    ) -> Result<Reply, Failure> {
        let reply = match self.authorized(endpoint, call, credentials).await {
            Err(Failure::NoTls(error)) if was_cut(&error) => Err(Failure::Passing(error, None)),
            reply => reply,
        }?;
        if !is_passing(reply.status()) {
            return Ok(reply);
        }
        let wait = retry_after(reply.response.headers(), SystemTime::now());
        // The slot is free while we wait.
        Err(Failure::Passing(reply.into_error(call.subject).await, wait))
    }

    async fn authorized(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        credentials: &dyn Credentials,
    ) -> Result<Reply, Failure> {
        let ask = Ask {
            subject: call.subject,
            endpoint,
            scopes: &call.scopes,
            credentials,
            client_id: &self.options.client_id,
        };
        let mut grant = self.authorizer.header(&ask).await?;
        for _ in 0..2 {
            let reply = self.redirected(endpoint, call, grant.as_ref()).await?;
            if reply.status() != StatusCode::UNAUTHORIZED {
                return Ok(reply);
            }
            let Some(challenge) = Challenge::of(reply.response.headers()) else {
                return Ok(reply);
            };
            drop(reply);
            grant = Some(self.authorizer.answer(challenge, grant.as_ref(), &ask).await?);
        }
        self.redirected(endpoint, call, grant.as_ref()).await
    }

    async fn redirected(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        grant: Option<&Grant>,
    ) -> Result<Reply, Failure> {
        let (own, mut url) = match &call.target {
            Target::Path(path) => {
                let url = endpoint.url(path, call.subject).map_err(Failure::Final)?;
                (url.clone(), url)
            }
            Target::Url(url) => {
                let own = endpoint.url("", call.subject).map_err(Failure::Final)?;
                (own, url.clone())
            }
        };
        let permit = endpoint.slot(call.slot).await;
        for _ in 0..=MOST_REDIRECTS {
            let at_home = url.origin() == own.origin();
            let header = grant.filter(|_| at_home).map(|grant| &grant.header);
            let response = match self.once(endpoint, call, url.clone(), header).await {
                Err(Failure::NoTls(error))
                    if at_home
                        && url.scheme() == "https"
                        && endpoint.may_do_without_tls(&error) =>
                {
                    if url.set_scheme("http").is_err() {
                        return Err(Failure::Final(error));
                    }
                    self.once(endpoint, call, url.clone(), header).await?
                }
                other => other?,
            };
            let again = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let reading = matches!(call.method, Method::GET | Method::HEAD);
            if !(again && reading) {
                return Ok(Reply {
                    response,
                    url,
                    is_public: grant.is_none_or(|grant| grant.is_public),
                    watch: Watch::new(endpoint.pace()),
                    endpoint: endpoint.clone(),
                    _permit: permit,
                });
            }
            url =
                endpoint.follow(&url, response.headers(), call.subject).map_err(Failure::Final)?;
        }
        let what = format!("more than {MOST_REDIRECTS} redirects");
        Err(Failure::Final(RegistryError::protocol(call.subject, &endpoint.host, what)))
    }

    async fn once(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        url: Url,
        header: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let host = match (url.host_str(), url.port()) {
            (Some(name), Some(port)) => format!("{name}:{port}"),
            (Some(name), None) => name.to_owned(),
            _ => endpoint.host.clone(),
        };
        let mut builder = endpoint.client().request(call.method.clone(), url);
        builder = builder.headers(call.headers.clone());
        if let Some(header) = header {
            builder = builder.header(AUTHORIZATION, header);
        }
        let sent = Sent::default();
        builder = match &call.payload {
            // Some servers insist on a length for every request that might have a body.
            Payload::Empty if call.method == Method::POST => builder.header(CONTENT_LENGTH, 0),
            Payload::Empty => builder,
            Payload::Bytes(bytes) => builder.body(bytes.clone()),
            Payload::Stream { len, source } => builder
                .header(CONTENT_LENGTH, *len)
                .body(reqwest::Body::wrap_stream(sent.count(source.open().map_err(BodyError)))),
        };
        let (sending, window) = (builder.send(), endpoint.timeout());
        let outcome = match &call.payload {
            Payload::Stream { len, .. } => match sent.watch(*len, window, sending).await {
                Ok(outcome) => outcome,
                Err(time) => {
                    let what = format!("took nothing of what is pushed for {time:?}");
                    return Err(endpoint.stalled_at(&host, call.subject, what, time).into());
                }
            },
            _ => match tokio::time::timeout(endpoint.timeout(), sending).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    return Err(endpoint.stalled(&host, call.subject, TooSlow::Silent).into());
                }
            },
        };
        outcome.map_err(|error| exchange_failed(&host, call.subject, error))
    }
}

/// Whether a connection was ended while it was made, unlike one that was refused.
fn was_cut(error: &RegistryError) -> bool {
    let RegistryError::Unreachable { cause, .. } = error else { return false };
    ["reset", "eof", "closed"].iter().any(|word| cause.contains(word))
}

/// What a failed exchange with a host means.
pub(crate) fn exchange_failed(host: &str, subject: &str, error: reqwest::Error) -> Failure {
    if let Some(source) = body_error(&error) {
        return Failure::Final(RegistryError::Body { subject: subject.to_owned(), source });
    }
    let (connecting, slow) = (error.is_connect(), error.is_timeout());
    match RegistryError::network(host, error) {
        tls @ RegistryError::Tls { .. } => Failure::NoTls(tls),
        // Refused and unknown hosts stay refused and unknown; a plain server that is spoken to in
        // TLS may also just hang up.
        other if connecting && !slow => Failure::NoTls(other),
        other => Failure::Passing(other, None),
    }
}

/// The error of the stream we were sending, if that is what failed.
fn body_error(error: &reqwest::Error) -> Option<io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(here) = cause {
        if let Some(body) = here.downcast_ref::<BodyError>() {
            return Some(io::Error::new(body.0.kind(), body.0.to_string()));
        }
        cause = here.source();
    }
    None
}
