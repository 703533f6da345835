//! Goes to the daemon: over a socket, through TLS, or into this process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kiln_client::Client;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::embedded::{self, OwnDaemon, Purpose};
use crate::endpoint::{Address, Endpoint, Tls};

/// How long between two attempts of `--wait`.
const PAUSE: Duration = Duration::from_millis(200);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// TLS over something that is not TCP.
    #[error("TLS needs an address of the form tcp://HOST:PORT, not {0}")]
    NotTcp(String),
    /// A file of certificates or a key cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The host is no name that a certificate could have.
    #[error("{name:?} is no name for a certificate")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: InvalidDnsNameError,
    },
    /// The certificates contradict each other.
    #[error("certificates cannot be used")]
    Certificates(#[from] rustls::Error),
    /// Nobody answers, or not in TLS.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Connects to the daemon; one that is started in this process is put into `own`.
///
/// # Errors
///
/// If it cannot be reached within the time, or cannot be started in this process.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    own: &OwnDaemon,
    purpose: Purpose,
) -> anyhow::Result<Client> {
    match endpoint {
        Endpoint::Embedded(settings) => embedded::start(settings, own, purpose).await,
        Endpoint::Address(address) => loop {
            let attempt = tokio::time::timeout(address.timeout, attempt(address)).await;
            let error = match attempt {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!(
                    "no daemon answered at {} within {} seconds",
                    address.url,
                    address.timeout.as_secs()
                ),
            };
            if !address.wait {
                return Err(error);
            }
            tracing::debug!(address = %address.url, %error, "waiting for the daemon");
            tokio::time::sleep(PAUSE).await;
        },
    }
}

async fn attempt(address: &Address) -> anyhow::Result<Client> {
    let Some(tls) = &address.tls else { return Ok(Client::connect(&address.url).await?) };
    let stream = open_tls(&address.url, tls).await.context("failed to connect with TLS")?;
    Ok(Client::from_io(stream).await?)
}

async fn open_tls(
    url: &str,
    tls: &Tls,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError> {
    let host = url.strip_prefix("tcp://").ok_or_else(|| TlsError::NotTcp(url.to_owned()))?;
    let name = tls.server_name.clone().unwrap_or_else(|| host_name(host).to_owned());
    let name =
        ServerName::try_from(name.clone()).map_err(|source| TlsError::Name { name, source })?;
    let connector = TlsConnector::from(Arc::new(client_config(tls)?));
    let failed = |source| TlsError::Unreachable { address: url.to_owned(), source };
    let stream = TcpStream::connect(host).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    connector.connect(name, stream).await.map_err(failed)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_name(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.trim_start_matches('[').trim_end_matches(']')
}

fn client_config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(tls)?);
    let mut config = match &tls.keypair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| TlsError::File { path: key.clone(), source })?;
            builder.with_client_auth_cert(certificates(certificate)?, private)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The authority that was named, or those of the system.
fn authorities(tls: &Tls) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate)?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.clone(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_host_without_its_port() {
        assert_eq!(host_name("build.example:1234"), "build.example");
        assert_eq!(host_name("[::1]:1234"), "::1");
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named_within_the_time() {
        let address = Address {
            url: "unix:///nonexistent/kiln.sock".into(),
            tls: None,
            timeout: Duration::from_secs(5),
            wait: false,
        };
        let error = connect(&Endpoint::Address(address), &OwnDaemon::default(), Purpose::Build)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("unix:///nonexistent/kiln.sock"), "{error}");
    }

    #[tokio::test]
    async fn tls_over_a_unix_socket_is_refused() {
        let url = "unix:///run/kiln.sock".to_owned();
        let tls = Some(Tls::default());
        let address = Address { url, tls, timeout: Duration::from_secs(5), wait: false };
        let error = connect(&Endpoint::Address(address), &OwnDaemon::default(), Purpose::Build)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("TLS needs an address"), "{error:#}");
    }
}
