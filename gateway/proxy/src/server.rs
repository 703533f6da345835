//! The proxy itself: connections of a step in, requests to servers out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::authority::Authority;
use crate::body::{Hashed, Note};
use crate::capture::{self, Capture, Captured, Gap, Reason};
use crate::exchange;
use crate::upstream::{Trust, Upstream};

/// How many connections a step may have; more wait.
const MAX_CONNECTIONS: usize = 256;
/// How long the head of a request may be, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How many headers a request may have.
const MAX_HEADERS: usize = 200;
/// How long a head may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the keys of a connection may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to end when their step has.
const DRAIN_TIME: Duration = Duration::from_secs(2);

type AnyBody = BoxBody<Bytes, hyper::Error>;

/// Opens connections to servers.
#[async_trait]
pub trait Egress: Send + Sync + std::fmt::Debug {
    /// Connects to a server by its name or address.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream>;
}

/// Decides on requests.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Whether a request to `url` may be made: as it is, or to another address. An error says why not.
    async fn judge(&self, url: &str) -> Result<Option<String>, String>;
}

/// What a proxy is made of.
pub struct ProxyParts {
    /// Who steps take it from that a server is who it says.
    pub authority: Arc<Authority>,
    /// How connections are opened.
    pub egress: Arc<dyn Egress>,
    /// Who decides on requests; all are made, if there is nobody.
    pub judge: Option<Arc<dyn Judge>>,
}

/// A proxy that listens. Dropping it ends it at once.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    capture: Arc<Capture>,
    /// Told when the step has ended.
    ended: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a socket that does not block, wherever it was made. To be called on a runtime.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub fn serve(listener: std::net::TcpListener, parts: ProxyParts) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let (capture, ended) = (Arc::new(Capture::default()), watch::Sender::new(false));
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { parts, capture: Arc::clone(&capture), trust: Trust::default() });
        let task = tokio::spawn(accept(listener, shared, ended.subscribe()));
        Ok(Self { address, capture, ended, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, once what is under way has ended or is late; says what passed.
    pub async fn finish(mut self) -> Captured {
        self.ended.send_replace(true);
        if timeout(DRAIN_TIME, &mut self.task).await.is_err() {
            self.task.abort();
            (&mut self.task).await.ok();
        }
        self.capture.captured()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    parts: ProxyParts,
    capture: Arc<Capture>,
    trust: Trust,
}

/// Takes connections until the step has ended, then waits for those that are there.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut ended: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            let (stream, _) = listener.accept().await.ok()?;
            Some((stream, permit))
        };
        tokio::select! {
            biased;
            // An error means that nobody is there to end it.
            () = async { drop(ended.wait_for(|ended| *ended).await) } => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            next = next => match next {
                Some((stream, permit)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        serve(shared, stream).await;
                        drop(permit);
                    });
                }
                // The kernel has too little of something; it may have more in a moment.
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Where the requests of a connection go.
enum Way {
    /// Each says so itself.
    Open,
    /// To this server, encrypted.
    Tunnel(String),
}

/// A connection of a step.
struct Connection {
    shared: Arc<Shared>,
    way: Way,
    upstream: Mutex<Option<Upstream>>,
    /// What becomes of it when the step asks for a tunnel.
    tunnel: std::sync::Mutex<Option<(hyper::upgrade::OnUpgrade, String)>>,
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let connection = Arc::new(Connection::new(Arc::clone(&shared), Way::Open));
    speak(&connection, TokioIo::new(stream)).await;
    let tunnel = connection.tunnel.lock().ok().and_then(|mut tunnel| tunnel.take());
    let Some((upgrade, authority)) = tunnel else { return };
    let Ok(upgraded) = upgrade.await else { return };
    if let Err(error) = encrypted(shared, upgraded, authority).await {
        tracing::debug!(%error, "a connection of a step ended");
    }
}

/// Speaks TLS on a tunnel, in the place of the server that it leads to.
async fn encrypted(shared: Arc<Shared>, stream: Upgraded, authority: String) -> io::Result<()> {
    let name = exchange::target("https", &authority, "/").map_err(io::Error::other)?;
    let name = name.host_str().unwrap_or_default();
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let config = shared.parts.authority.server(name, SystemTime::now());
    let acceptor = TlsAcceptor::from(config.map_err(io::Error::other)?);
    let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(TokioIo::new(stream))).await;
    let stream = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let connection = Arc::new(Connection::new(shared, Way::Tunnel(authority)));
    speak(&connection, TokioIo::new(stream)).await;
    Ok(())
}

async fn speak<I>(connection: &Arc<Connection>, io: I)
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let service = service_fn(|request| {
        let connection = Arc::clone(connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    // Some programs, such as busybox's wget, close their half once they have asked.
    builder.half_close(true);
    // How it ended is the step's business.
    builder.serve_connection(io, service).with_upgrades().await.ok();
}

impl Connection {
    fn new(shared: Arc<Shared>, way: Way) -> Self {
        Self { shared, way, upstream: Mutex::default(), tunnel: std::sync::Mutex::default() }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<AnyBody> {
        if request.method() == Method::CONNECT {
            return self.open_tunnel(&mut request);
        }
        match self.target(&request) {
            Ok(url) => self.pass(request, url).await,
            Err(message) => said(StatusCode::BAD_REQUEST, &message),
        }
    }

    fn open_tunnel(&self, request: &mut Request<Incoming>) -> Response<AnyBody> {
        let authority = request.uri().authority().map(ToString::to_string);
        let (Way::Open, Some(authority)) = (&self.way, authority) else {
            return said(StatusCode::BAD_REQUEST, "no tunnel leads there");
        };
        let upgrade = hyper::upgrade::on(request);
        if let Ok(mut tunnel) = self.tunnel.lock() {
            *tunnel = Some((upgrade, authority));
        }
        Response::new(Full::default().map_err(|never| match never {}).boxed())
    }

    /// Where a request goes.
    fn target(&self, request: &Request<Incoming>) -> Result<Url, String> {
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if let Way::Tunnel(authority) = &self.way {
            return exchange::target("https", authority, path);
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = uri.authority().map(http::uri::Authority::as_str).or(host);
        let authority = authority.ok_or("the request does not say where it goes")?;
        exchange::target(uri.scheme_str().unwrap_or("http"), authority, path)
    }

    /// Asks the server, if that is allowed, and passes its answer on.
    async fn pass(&self, mut request: Request<Incoming>, url: Url) -> Response<AnyBody> {
        let (method, url) = match self.judged(request.method(), url).await {
            Ok(url) => (request.method().clone(), url),
            Err(forbidden) => return *forbidden,
        };
        let shown = exchange::shown(&url);
        let is_partial = request.headers().contains_key(header::RANGE);
        let capture = &self.shared.capture;
        let note = |redirect, status: StatusCode| capture::Request {
            method: method.to_string(),
            url: shown.clone(),
            redirect,
            status: status.as_u16(),
        };
        exchange::strip_request(request.headers_mut());
        match self.ask(request, &url).await {
            Ok(mut response) => {
                let status = response.status();
                let redirect = exchange::redirect(&url, response.headers());
                capture.request(note(redirect, status));
                exchange::strip(response.headers_mut());
                *response.version_mut() = Version::HTTP_11;
                let note = Note {
                    capture: Arc::clone(capture),
                    method: method.to_string(),
                    url: shown.clone(),
                    status,
                    gap: exchange::gap(&method, is_partial, status),
                };
                response.map(|body| Hashed::new(body, note).boxed())
            }
            Err(message) => {
                capture.request(note(None, StatusCode::BAD_GATEWAY));
                let (method, url) = (method.to_string(), shown.clone());
                capture.gap(Gap { method, url, reason: Reason::Upstream });
                said(StatusCode::BAD_GATEWAY, &message)
            }
        }
    }

    /// The address that is asked in the end.
    async fn judged(&self, method: &Method, url: Url) -> Result<Url, Box<Response<AnyBody>>> {
        let Some(judge) = &self.shared.parts.judge else { return Ok(url) };
        let shown = exchange::shown(&url);
        let refused = |reason: String| {
            tracing::debug!(url = shown, reason, "a request of a step is refused");
            self.shared.capture.request(capture::Request {
                method: method.to_string(),
                url: shown.clone(),
                redirect: None,
                status: StatusCode::FORBIDDEN.as_u16(),
            });
            Box::new(said(StatusCode::FORBIDDEN, "Forbidden"))
        };
        match judge.judge(&shown).await {
            Ok(None) => Ok(url),
            Ok(Some(_)) if method != Method::GET => {
                Err(refused("only what is got can be got elsewhere".to_owned()))
            }
            Ok(Some(other)) => {
                let other = Url::parse(&other).map_err(|error| refused(error.to_string()))?;
                exchange::check(&other).map_err(refused)?;
                Ok(other)
            }
            Err(reason) => Err(refused(reason)),
        }
    }

    /// Sends a request to its server.
    async fn ask(
        &self,
        request: Request<Incoming>,
        url: &Url,
    ) -> Result<Response<Incoming>, String> {
        let mut request = prepared(request, url)?;
        let mut upstream = self.upstream.lock().await;
        let mut kept = upstream.take().filter(|upstream| upstream.fits(url));
        // A server may have closed its connection just now.
        if let Some(known) = &mut kept
            && known.sender.ready().await.is_err()
        {
            kept = None;
        }
        loop {
            let is_kept = kept.is_some();
            let mut current = match kept.take() {
                Some(current) => current,
                None => {
                    let egress = &*self.shared.parts.egress;
                    let connected = Upstream::connect(url, egress, &self.shared.trust).await;
                    connected.map_err(|error| format!("cannot reach the server: {error}"))?
                }
            };
            match current.sender.try_send_request(request).await {
                Ok(response) => {
                    *upstream = Some(current);
                    return Ok(response);
                }
                Err(mut failed) => match failed.take_message() {
                    // It was not sent, so another connection may do.
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(format!("the server did not answer: {}", failed.error())),
                },
            }
        }
    }
}

/// The request as its server gets it.
fn prepared(mut request: Request<Incoming>, url: &Url) -> Result<Request<Incoming>, String> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let invalid = |error: &dyn std::fmt::Display| format!("the request cannot be sent: {error}");
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| invalid(&error))?;
    *request.version_mut() = Version::HTTP_11;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let host = HeaderValue::from_str(&host).map_err(|error| invalid(&error))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// An answer of the proxy's own.
fn said(status: StatusCode, message: &str) -> Response<AnyBody> {
    let body = Full::from(format!("{message}\n")).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
