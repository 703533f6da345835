//! A network that is nothing but a proxy: a namespace with a loopback of its own, on which a proxy listens
//! that lives in the daemon.
//!
//! There is no link out of the namespace, so what does not ask the proxy gets nowhere. The proxy's own
//! connections are made where a process without proxy would be: on the daemon's network, or in a
//! namespace behind the bridge. Names are looked up by the daemon.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use kiln_executor::Network;
use kiln_proxy::{Authority, Captured, Egress, Judge, Proxy, ProxyParts};
use tokio::sync::oneshot;

use crate::connected::Held;
use crate::namespace::Namespace;
use crate::networks::{NetworkError, Networks, Step};

/// How long a server may take to answer that it is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How many addresses of a server are tried.
const MAX_ADDRESSES: usize = 8;
/// What a process reaches without the proxy.
const OWN: &str = "127.0.0.1,localhost,::1";

/// A namespace with a proxy. Dropping it ends the proxy; its processes must have ended before.
#[derive(Debug)]
pub struct ProxiedNetwork {
    proxy: Proxy,
    certificate: String,
    namespace: Namespace,
}

impl Networks {
    /// A network for one process that is a proxy. It reaches what the machine reaches if `host` is set,
    /// else what processes reach that ask for no network in particular; `judge` decides on requests.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a step.
    pub async fn proxied(
        &self,
        host: bool,
        judge: Option<Arc<dyn Judge>>,
    ) -> Result<ProxiedNetwork, NetworkError> {
        let egress = match host {
            true => Outward::Host,
            false => match self.default.connect("").await? {
                (Network::None, _) => Outward::Nowhere,
                (Network::Namespace(path), held) => Outward::Inside { path, _held: held },
                _ => Outward::Host,
            },
        };
        let authority = self.authority()?;
        let certificate = authority.certificate();
        let namespace = Namespace::new().await.step(|| "make a network namespace".into())?;
        let path = namespace.path().to_owned();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = inside(path, listen).await.step(|| "listen for a process".into())?;
        listener.set_nonblocking(true).step(|| "listen for a process".into())?;
        let parts = ProxyParts { authority, egress: Arc::new(egress), judge };
        let proxy = Proxy::serve(listener, parts).step(|| "start a proxy".into())?;
        Ok(ProxiedNetwork { proxy, certificate, namespace })
    }

    /// Who proxies take it from that servers are who they say; the same for all.
    fn authority(&self) -> Result<Arc<Authority>, NetworkError> {
        let mut known = self.authority.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let made = Authority::new(SystemTime::now());
        let made = Arc::new(made.map_err(|error| NetworkError::Conflict {
            message: format!("cannot make certificates for a proxy: {error}"),
        })?);
        *known = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl ProxiedNetwork {
    /// The file of the namespace, for as long as this is there.
    pub fn path(&self) -> &Path {
        self.namespace.path()
    }

    /// Variables that name the proxy, as `NAME=value`, in both spellings.
    pub fn environment(&self) -> Vec<String> {
        let proxy = format!("http://{}", self.proxy.address());
        let pairs = [("HTTP_PROXY", &*proxy), ("HTTPS_PROXY", &*proxy), ("NO_PROXY", OWN)];
        pairs
            .into_iter()
            .flat_map(|(name, value)| {
                [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())]
            })
            .collect()
    }

    /// The certificate that processes have to trust, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Ends the proxy, once what is under way has ended or is late; says what passed.
    pub async fn finish(self) -> Captured {
        self.proxy.finish().await
    }
}

/// Where a proxy makes its connections.
#[derive(Debug)]
enum Outward {
    Host,
    Nowhere,
    Inside { path: PathBuf, _held: Option<Held> },
}

#[async_trait]
impl Egress for Outward {
    async fn connect(&self, host: &str, port: u16) -> io::Result<tokio::net::TcpStream> {
        if let Self::Nowhere = self {
            let message = "processes of this daemon have no network (networkMode = \"none\")";
            return Err(io::Error::new(io::ErrorKind::NetworkUnreachable, message));
        }
        let addresses = tokio::net::lookup_host((host, port)).await?;
        let addresses: Vec<SocketAddr> = addresses.take(MAX_ADDRESSES).collect();
        let connect = move || {
            let mut error = io::Error::new(io::ErrorKind::NotFound, "it has no address");
            for address in addresses {
                match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                    Ok(stream) => return Ok(stream),
                    Err(failed) => error = failed,
                }
            }
            Err(error)
        };
        let stream = match self {
            Self::Inside { path, .. } => inside(path.clone(), connect).await?,
            _ => tokio::task::spawn_blocking(connect).await.map_err(io::Error::other)??,
        };
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)
    }
}

/// Does something in a network namespace, on a thread that is for this alone. Sockets stay with the
/// namespace in which they are made.
async fn inside<T: Send + 'static>(
    namespace: PathBuf,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = oneshot::channel();
    thread::Builder::new().name("kiln-netns".to_owned()).spawn(move || {
        let enter = || {
            let file = std::fs::File::open(&namespace)?;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind)?;
            act()
        };
        answer.send(enter()).ok();
    })?;
    answered.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
}
