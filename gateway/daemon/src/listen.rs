//! Where clients connect: sockets are opened here, and connections come out.
//!
//! An [`Address`] comes in, a [`Listener`] goes out, which gives every connection as the same kind of
//! byte stream, behind TLS where that was asked for. A connection that fails, and a moment in which
//! the machine has no descriptor left, never end a listener.

mod notify;
mod passed;
#[cfg(test)]
mod tests;
mod tls;
mod unix;

pub use notify::notify;
pub use passed::{PassedError, PassedSockets};
pub use tls::TlsError;
pub use unix::{OwnerError, group_id};

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use kiln_wire::channel::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use crate::config::{Address, PassedSocket, Sockets};

/// How long nothing is accepted after the machine could not.
const PAUSE: Duration = Duration::from_millis(100);
/// How many handshakes may be going on; further clients wait.
const MOST_HANDSHAKES: usize = 256;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The machine does not allow it.
    #[error("cannot listen on {address}")]
    Address {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The process was not started with that socket.
    #[error("cannot listen on {address}")]
    Passed {
        /// Where.
        address: String,
        /// Why.
        source: PassedError,
    },
    /// A TCP socket that the process was started with would be without TLS.
    #[error(
        "cannot listen on {0}: it is a TCP socket and would be without TLS; give --tlscert, --tlskey and \
         --tlscacert, or say --allow-plain-tcp if everyone who can connect may do everything"
    )]
    Plain(String),
    /// There is no such owner or group.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An open socket.
pub struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Opens sockets as a configuration says.
pub struct Listening<'a> {
    sockets: &'a Sockets,
    owner: unix::Owner,
    tls: Option<TlsAcceptor>,
    passed: PassedSockets,
}

impl<'a> Listening<'a> {
    /// Reads the certificates and finds the group; opens nothing yet.
    ///
    /// # Errors
    ///
    /// If one of these is not there.
    pub fn new(sockets: &'a Sockets, passed: PassedSockets) -> Result<Self, ListenError> {
        let owner = unix::Owner::find(sockets.uid, sockets.group.as_ref())?;
        let tls = sockets.tls.as_ref().map(tls::acceptor).transpose()?;
        Ok(Self { sockets, owner, tls, passed })
    }

    /// Opens a socket for clients: a Unix socket for its owner and group, a TCP socket with TLS.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub async fn open(&mut self, address: &Address) -> Result<Listener, ListenError> {
        let failed = |source| ListenError::Address { address: address.to_string(), source };
        let socket = match address {
            Address::Unix(path) => Socket::Unix(unix::listen(path, &self.owner).map_err(failed)?),
            Address::Tcp(host) => {
                Socket::Tcp(TcpListener::bind(bindable(host)).await.map_err(failed)?)
            }
            Address::Passed(which) => self.take(which)?,
        };
        let tls = match socket {
            Socket::Unix(_) => None,
            Socket::Tcp(_) if self.tls.is_none() && !self.sockets.plain_tcp => {
                return Err(ListenError::Plain(address.to_string()));
            }
            Socket::Tcp(_) => self.tls.clone(),
        };
        if matches!(socket, Socket::Tcp(_)) && tls.is_none() {
            tracing::warn!(%address, "without TLS: whoever can connect may do everything");
        }
        Ok(Listener { socket, tls })
    }

    fn take(&mut self, which: &PassedSocket) -> Result<Socket, ListenError> {
        let address = || Address::Passed(which.clone()).to_string();
        let failed = |source| ListenError::Passed { address: address(), source };
        let socket = self.passed.take(which).map_err(failed)?;
        match socket {
            passed::Socket::Unix(listener) => UnixListener::from_std(listener).map(Socket::Unix),
            passed::Socket::Tcp(listener) => TcpListener::from_std(listener).map(Socket::Tcp),
        }
        .map_err(|source| ListenError::Address { address: address(), source })
    }
}

/// `:1234` is every address of the machine, as in Go.
fn bindable(host: &str) -> String {
    if host.starts_with(':') { format!("[::]{host}") } else { host.to_owned() }
}

impl Listener {
    /// Listens on a Unix socket for this process' user and no one else.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn private(path: &Path) -> Result<Self, ListenError> {
        let address = || Address::Unix(path.to_owned()).to_string();
        let socket = unix::listen_privately(path)
            .map_err(|source| ListenError::Address { address: address(), source })?;
        Ok(Self { socket: Socket::Unix(socket), tls: None })
    }

    /// Opens a socket without TLS for what is not the API.
    ///
    /// # Errors
    ///
    /// If it cannot be had; sockets that the process was started with are for the API.
    pub async fn plain(address: &Address) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Address { address: address.to_string(), source };
        let socket = match address {
            Address::Unix(path) => unix::listen(path, &unix::Owner::default()).map(Socket::Unix),
            Address::Tcp(host) => TcpListener::bind(bindable(host)).await.map(Socket::Tcp),
            Address::Passed(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { socket: socket.map_err(failed)?, tls: None })
    }

    /// The port, of a TCP socket.
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Unix(_) => None,
            Socket::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
        }
    }

    /// All connections, without end and without errors. Handshakes go on beside each other.
    pub fn connections(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        let Self { socket, tls } = self;
        let state = (socket, tls, FuturesUnordered::new());
        futures::stream::unfold(state, |(socket, tls, mut coming)| async move {
            loop {
                let more = coming.len() < MOST_HANDSHAKES;
                tokio::select! {
                    stream = socket.accept(), if more => coming.push(stream.secured(tls.clone())),
                    Some(ended) = coming.next(), if !coming.is_empty() => {
                        if let Some(connection) = ended {
                            return Some((Ok(connection), (socket, tls, coming)));
                        }
                    }
                }
            }
        })
    }
}

impl Socket {
    /// Accepts until that succeeds. May be cancelled.
    async fn accept(&self) -> Accepted {
        loop {
            let accepted = match self {
                Self::Unix(listener) => listener.accept().await.map(|(io, _)| Accepted::Unix(io)),
                Self::Tcp(listener) => {
                    listener.accept().await.map(|(io, peer)| Accepted::Tcp(io, peer))
                }
            };
            match accepted {
                Ok(accepted) => return accepted,
                // A client that has gone again; or no descriptors, which others give back.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A client that has connected.
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Accepted {
    /// The connection, behind TLS if that is asked for and comes about.
    async fn secured(self, tls: Option<TlsAcceptor>) -> Option<Connection> {
        let io: Box<dyn Io> = match (self, tls) {
            (Self::Unix(io), _) => Box::new(io),
            (Self::Tcp(io, peer), tls) => {
                io.set_nodelay(true).ok();
                match tls {
                    None => Box::new(io),
                    Some(acceptor) => Box::new(tls::handshake(&acceptor, io, peer).await?),
                }
            }
        };
        Some(Connection(io))
    }
}

/// A connection of a client.
pub struct Connection(Box<dyn Io>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
