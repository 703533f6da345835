//! The connection to a server that a step's request goes to.
//!
//! Each connection of a step has at most one, which is used again as long as the requests go to the same
//! server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::server::Egress;

/// How long a connection may take, with its keys.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the head of an answer may be, in bytes.
const MAX_HEAD_BYTES: usize = 256 << 10;

/// The servers of the world as this machine trusts them; found out when the first is asked.
#[derive(Debug, Default)]
pub(crate) struct Trust(OnceCell<Arc<ClientConfig>>);

impl Trust {
    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let load = || async {
            // They are files, of which there are many.
            let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(found.map_err(io::Error::other)?.certs);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?;
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        };
        self.0.get_or_try_init(load).await.map(Arc::clone)
    }
}

/// A connection that is up.
pub(crate) struct Upstream {
    /// Scheme, host and port.
    server: (String, String, u16),
    pub(crate) sender: SendRequest<Incoming>,
    connection: AbortHandle,
}

impl Upstream {
    /// Whether it leads to the server of an address, and can be used again.
    pub(crate) fn fits(&self, url: &Url) -> bool {
        !self.sender.is_closed() && server_of(url).as_ref() == Some(&self.server)
    }

    /// Connects to the server of an address.
    pub(crate) async fn connect(url: &Url, egress: &dyn Egress, trust: &Trust) -> io::Result<Self> {
        let connected = timeout(CONNECT_TIMEOUT, Self::open(url, egress, trust)).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(url: &Url, egress: &dyn Egress, trust: &Trust) -> io::Result<Self> {
        let server = server_of(url).ok_or(io::ErrorKind::InvalidInput)?;
        let host = server.1.trim_start_matches('[').trim_end_matches(']');
        let stream = egress.connect(host, server.2).await?;
        stream.set_nodelay(true)?;
        if server.0 == "http" {
            return Self::speak(stream, server).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(trust.config().await?).connect(name, stream).await?;
        Self::speak(stream, server).await
    }

    async fn speak<S>(stream: S, server: (String, String, u16)) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It says how it ended to who waits for an answer.
        let connection = tokio::spawn(async { drop(connection.await) }).abort_handle();
        Ok(Self { server, sender, connection })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn server_of(url: &Url) -> Option<(String, String, u16)> {
    let port = url.port_or_known_default()?;
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), port))
}
