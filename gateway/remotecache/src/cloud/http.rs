//! Requests to clouds: sent again when that may help, and given up when the server is too slow.
//!
//! Requests come in signed, anew for every attempt; answers go out whatever they say, unless it is
//! that the server is busy or broken for the moment. What addresses mean is the backends' business.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use kiln_handle::Handle;
use kiln_registry::{Pace, Watch, install_crypto, is_this_machine, retry_after};
use reqwest::{Client, Request, Response, StatusCode, Url};

use super::error::{CloudError, said};
use super::secret::Scrubber;
use crate::origin::{ByteStream, Cause};

/// Of an error document, this much is read.
const ERROR_LIMIT: u64 = 32 << 10;
/// A server is not obeyed if it wants us to wait longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// No wait that we choose ourselves is longer.
const LONGEST_DELAY: Duration = Duration::from_secs(20);
/// An upload may take a second for this many bytes.
const SLOWEST_UPLOAD: u64 = 32 << 10;

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long a server may be silent, before an answer and in the middle of it.
    pub(crate) idle: Duration,
    /// Before the second attempt; each further one comes after twice as long.
    pub(crate) delay: Duration,
    /// How many bytes of an answer have to come in a second, on average over `idle`.
    pub(crate) bytes_per_second: u64,
    /// How long another builder may take for what only one can do.
    pub(crate) turn: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            delay: Duration::from_millis(300),
            bytes_per_second: 512,
            turn: Duration::from_secs(15),
        }
    }
}

/// Connections, shared by everything that speaks to clouds.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    usual: OnceLock<Client>,
    /// For this machine and for what lies beside it, where proxies are of no use.
    direct: OnceLock<Client>,
}

impl Connections {
    /// The client for an address. Made when it is first wanted, because reading all certificate
    /// authorities of the machine takes a while.
    pub(crate) fn to(&self, url: &Url) -> Result<&Client, reqwest::Error> {
        let host = url.host_str().unwrap_or_default();
        let is_near = is_this_machine(host) || host.starts_with("169.254.");
        let cell = if is_near { &self.direct } else { &self.usual };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = client(is_near)?;
        Ok(cell.get_or_init(|| client))
    }
}

fn client(is_near: bool) -> Result<Client, reqwest::Error> {
    install_crypto();
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION"), " (compatible; buildkit/v0)"))
            .connect_timeout(Duration::from_secs(if is_near { 2 } else { 30 }))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(kiln_registry::Lookup)
            .referer(false);
        if is_near { builder.no_proxy() } else { builder }
    };
    // Without any certificate authority on this machine, plain HTTP still works.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// How often and how long something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    /// At most so often, the first time included.
    pub(crate) most: usize,
    /// A server that limits the rate is asked for so long, however often that is.
    pub(crate) while_limited: Duration,
    /// When a server limits the rate, everything else waits, too.
    pub(crate) adaptive: bool,
}

/// One login's way to a cloud.
#[derive(Debug)]
pub(crate) struct Http {
    connections: Arc<Connections>,
    scrubber: Scrubber,
    pub(crate) patience: Patience,
    attempts: Attempts,
    pacer: Pacer,
}

impl Http {
    pub(crate) fn new(
        connections: &Arc<Connections>,
        patience: Patience,
        attempts: Attempts,
        scrubber: Scrubber,
    ) -> Self {
        let connections = Arc::clone(connections);
        Self { connections, scrubber, patience, attempts, pacer: Pacer::default() }
    }

    /// Sends a request, made anew for each attempt, until there is an answer that is final.
    pub(crate) async fn send<F>(
        &self,
        what: &str,
        make: impl Fn() -> F + Send + Sync,
    ) -> Result<Response, CloudError>
    where
        F: Future<Output = Result<Request, CloudError>> + Send,
    {
        let began = Instant::now();
        let mut failed = 0;
        loop {
            if self.attempts.adaptive {
                self.pacer.turn().await;
            }
            let (error, wait, is_limited) = match self.once(what, make().await?).await {
                Ok(response) if is_passing(response.status()) => {
                    let limited = is_limit(response.status());
                    let wait = retry_after(response.headers(), SystemTime::now());
                    (self.failed(what, response).await, wait, limited)
                }
                Ok(response) => {
                    self.pacer.went_well();
                    return Ok(response);
                }
                Err(Attempt::Passing(error)) => (error, None, false),
                Err(Attempt::Final(error)) => return Err(error),
            };
            if is_limited {
                self.pacer.is_limited(self.patience.delay);
            }
            failed += 1;
            let wait = wait.unwrap_or_else(|| self.delay(failed));
            let is_patient = is_limited && began.elapsed() + wait <= self.attempts.while_limited;
            if !is_patient && (failed >= self.attempts.most || wait > LONGEST_WAIT) {
                return Err(error);
            }
            tracing::info!(%error, ?wait, "request to a cloud is sent again");
            tokio::time::sleep(wait).await;
        }
    }

    /// How long to wait after so many failures; a bit less, so that not all come back at once.
    pub(crate) fn delay(&self, failed: usize) -> Duration {
        let doubled = 1_u32 << (failed.saturating_sub(1)).min(16);
        let delay = self.patience.delay.saturating_mul(doubled).min(LONGEST_DELAY);
        delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    async fn once(&self, what: &str, mut request: Request) -> Result<Response, Attempt> {
        // Whoever traces requests is not shown these.
        for name in ["authorization", "x-amz-security-token"] {
            request
                .headers_mut()
                .get_mut(name)
                .into_iter()
                .for_each(|value| value.set_sensitive(true));
        }
        let host = host_of(request.url());
        let size = request.body().and_then(|body| body.as_bytes()).map_or(0, <[u8]>::len);
        let limit = self.patience.idle + Duration::from_secs(size as u64 / SLOWEST_UPLOAD);
        let client = self.connections.to(request.url());
        let client =
            client.map_err(|error| Attempt::Final(self.unreachable(what, &host, error)))?;
        match tokio::time::timeout(limit, client.execute(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                // Who is not there now is not there in a moment.
                let is_final = error.is_connect() && !error.is_timeout();
                let error = self.unreachable(what, &host, error);
                Err(if is_final { Attempt::Final(error) } else { Attempt::Passing(error) })
            }
            Err(_) => {
                let fault = format!("did not answer within {} s", limit.as_secs_f32());
                let what = what.to_owned();
                Err(Attempt::Passing(CloudError::Stalled { what, host, fault }))
            }
        }
    }

    /// An error of the network, without the address, which may be a login.
    fn unreachable(&self, what: &str, host: &str, error: reqwest::Error) -> CloudError {
        let error = error.without_url();
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        let cause = self.scrubber.scrub(&cause);
        CloudError::Unreachable { what: what.to_owned(), host: host.to_owned(), cause }
    }

    /// What an answer means as a failure.
    pub(crate) async fn failed(&self, what: &str, response: Response) -> CloudError {
        let (status, host) = (response.status().as_u16(), host_of(response.url()));
        let body = self.read(what, response, ERROR_LIMIT).await.unwrap_or_default();
        let said = self.scrubber.scrub(&said(&body));
        CloudError::Status { what: what.to_owned(), host, status, said }
    }

    /// The answer, if it is success.
    pub(crate) async fn succeeded(
        &self,
        what: &str,
        response: Response,
    ) -> Result<Response, CloudError> {
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.failed(what, response).await),
        }
    }

    /// The error for an answer that makes no sense.
    pub(crate) fn unusable(&self, what: &str, url: &Url, why: impl Into<String>) -> CloudError {
        let why = self.scrubber.scrub(&why.into());
        CloudError::Protocol { what: what.to_owned(), host: host_of(url), why }
    }

    /// Reads a whole answer, but not more than `limit` bytes.
    pub(crate) async fn read(
        &self,
        what: &str,
        mut response: Response,
        limit: u64,
    ) -> Result<Bytes, CloudError> {
        let url = response.url().clone();
        let mut watch = Watch::new(self.pace());
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(what, &mut response, &mut watch).await? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(self.unusable(what, &url, format!("it has more than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    async fn chunk(
        &self,
        what: &str,
        response: &mut Response,
        watch: &mut Watch,
    ) -> Result<Option<Bytes>, CloudError> {
        let host = host_of(response.url());
        let len = |piece: &reqwest::Result<Option<Bytes>>| match piece {
            Ok(Some(bytes)) => bytes.len(),
            // The end of the answer is not late.
            _ => usize::MAX >> 1,
        };
        match watch.next(response.chunk(), len).await {
            Ok(piece) => piece.map_err(|error| self.unreachable(what, &host, error)),
            Err(fault) => {
                let fault = self.pace().describe(fault);
                Err(CloudError::Stalled { what: what.to_owned(), host, fault })
            }
        }
    }

    fn pace(&self) -> Pace {
        let Patience { idle, bytes_per_second, .. } = self.patience;
        Pace { window: idle, bytes_per_second }
    }
}

/// How one attempt failed.
enum Attempt {
    /// Another may help.
    Passing(CloudError),
    Final(CloudError),
}

/// Whether a status is that of a server that is busy or broken for the moment.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a status says that there were too many requests.
fn is_limit(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503)
}

/// Host and port of an address.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Who keeps requests apart when a server limits their rate.
#[derive(Debug)]
struct Pacer(Mutex<(Instant, Duration)>);

impl Default for Pacer {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), Duration::ZERO)))
    }
}

impl Pacer {
    /// Waits until requests may be sent again, one after the other.
    async fn turn(&self) {
        let wait = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = state.0.max(now);
            state.0 = at + state.1;
            at - now
        };
        tokio::time::sleep(wait).await;
    }

    fn is_limited(&self, least: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = (state.1 * 2).clamp(least, LONGEST_DELAY);
        state.0 = state.0.max(Instant::now() + state.1);
    }

    fn went_well(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = if state.1 < Duration::from_millis(10) { Duration::ZERO } else { state.1 / 2 };
    }
}

/// Opens something at an offset.
pub(crate) type Open =
    dyn Fn(u64) -> BoxFuture<'static, Result<Response, CloudError>> + Send + Sync;

/// A blob on its way down.
struct Download {
    http: Handle<Http>,
    what: String,
    size: u64,
    open: Box<Open>,
    at: u64,
    answer: Option<(Response, Watch)>,
    failures: usize,
}

/// The bytes of a blob of this size; when the connection breaks, the rest is asked for.
pub(crate) fn download(http: Handle<Http>, what: String, size: u64, open: Box<Open>) -> ByteStream {
    let download = Download { http, what, size, open, at: 0, answer: None, failures: 0 };
    let next = |mut download: Download| async move {
        let piece = download.next().await.map_err(Cause::from)?;
        Ok::<_, Cause>(piece.map(|piece| (piece, download)))
    };
    stream::try_unfold(download, next).boxed()
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, CloudError> {
        loop {
            let (mut response, mut watch) = match self.answer.take() {
                Some(answer) => answer,
                None if self.at > 0 && self.at >= self.size => return Ok(None),
                None => (self.opened().await?, Watch::new(self.http.pace())),
            };
            let url = response.url().clone();
            let error = match self.http.chunk(&self.what, &mut response, &mut watch).await {
                Ok(Some(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.answer = Some((response, watch));
                    return Ok(Some(bytes));
                }
                Ok(None) if self.at >= self.size => return Ok(None),
                Ok(None) => self.http.unusable(&self.what, &url, self.ended()),
                Err(error) => error,
            };
            self.failures += 1;
            if self.failures >= self.http.attempts.most {
                return Err(error);
            }
            tracing::info!(%error, at = self.at, "the rest of a blob is asked for");
            tokio::time::sleep(self.http.delay(self.failures)).await;
        }
    }

    fn ended(&self) -> String {
        format!("it ends after {} of {} bytes", self.at, self.size)
    }

    async fn opened(&self) -> Result<Response, CloudError> {
        let response = (self.open)(self.at).await?;
        let url = response.url().clone();
        match (response.status().as_u16(), self.at) {
            (200, 0) | (206, 1..) => Ok(response),
            (416, 1..) => Err(self.http.unusable(&self.what, &url, self.ended())),
            (200, _) => {
                Err(self.http.unusable(&self.what, &url, "it is sent from the beginning again"))
            }
            _ => Err(self.http.failed(&self.what, response).await),
        }
    }
}
