//! Clients that may connect, and those that may not.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::{Group, TlsFiles};

/// An authority that signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost` and its key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Files of a daemon whose clients need certificates of `clients`.
fn files(directory: &Path, server: &Authority, clients: Option<&Authority>) -> TlsFiles {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = server.sign();
    TlsFiles {
        cert: write("cert.pem", &cert),
        key: write("key.pem", &key),
        ca: clients.map(|clients| write("ca.pem", &clients.pem())),
    }
}

fn sockets(tls: Option<TlsFiles>) -> Sockets {
    Sockets { addresses: Vec::new(), uid: None, group: None, tls, plain_tcp: false }
}

/// Opens a TCP socket and answers every connection with what it sends.
async fn echo(sockets: &Sockets) -> u16 {
    let mut listening = Listening::new(sockets, PassedSockets::default()).unwrap();
    let listener = listening.open(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let port = listener.port().unwrap();
    tokio::spawn(async move {
        let mut connections = Box::pin(listener.connections());
        while let Some(Ok(mut connection)) = connections.next().await {
            tokio::spawn(async move {
                let mut byte = [0];
                while connection.read_exact(&mut byte).await.is_ok() {
                    connection.write_all(&byte).await.unwrap();
                    connection.flush().await.unwrap();
                }
            });
        }
    });
    port
}

/// Speaks TLS with a server of `server`, with a certificate of `own`, and is answered.
async fn greet(port: u16, server: &Authority, own: Option<&Authority>) -> io::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own.map(Authority::sign) {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = connector.connect(name, tcp).await?;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    tls.write_all(b"x").await?;
    tls.flush().await?;
    let mut answer = [0];
    tls.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"x");
    Ok(())
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let (server, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let sockets = sockets(Some(files(directory.path(), &server, Some(&clients))));
    let port = echo(&sockets).await;
    greet(port, &server, Some(&clients)).await.unwrap();
    assert!(greet(port, &server, None).await.is_err());
    assert!(greet(port, &server, Some(&strangers)).await.is_err());
    assert!(greet(port, &strangers, Some(&clients)).await.is_err(), "the server is another");
    greet(port, &server, Some(&clients)).await.unwrap();
}

#[tokio::test]
async fn without_an_authority_no_client_needs_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let server = Authority::new();
    let port = echo(&sockets(Some(files(directory.path(), &server, None)))).await;
    greet(port, &server, None).await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Authority::new();
    let port = echo(&sockets(Some(files(directory.path(), &server, None)))).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    greet(port, &server, None).await.unwrap();
}

#[tokio::test]
async fn tcp_without_tls_is_opened_only_if_it_was_asked_for() {
    let mut sockets = sockets(None);
    let address = "tcp://127.0.0.1:0".parse().unwrap();
    let open = async |sockets: &Sockets| {
        Listening::new(sockets, PassedSockets::default()).unwrap().open(&address).await.err()
    };
    assert!(matches!(open(&sockets).await, Some(ListenError::Plain(_))));
    sockets.plain_tcp = true;
    assert!(open(&sockets).await.is_none());
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = Authority::new();
    let error = |change: fn(&mut TlsFiles)| {
        let mut files = files(directory.path(), &server, Some(&server));
        change(&mut files);
        let sockets = sockets(Some(files));
        let error = Listening::new(&sockets, PassedSockets::default());
        error.err().expect("they are refused").to_string()
    };
    assert!(
        error(|files| files.cert = "/none.pem".into())
            .starts_with("cannot read certificates from /none")
    );
    assert!(
        error(|files| files.key.clone_from(&files.cert)).starts_with("cannot read a private key")
    );
    assert!(
        error(|files| files.ca = Some(files.key.clone())).starts_with("cannot read certificates")
    );
    assert!(
        error(|files| {
            let other = Authority::new().sign().1;
            std::fs::write(&files.key, other).unwrap();
        })
        .starts_with("cannot use certificate")
    );
}

#[test]
fn a_group_that_is_not_there_is_an_error_before_anything_listens() {
    let mut sockets = sockets(None);
    sockets.group = Some(Group::Name("no-such-group-here".into()));
    let error = Listening::new(&sockets, PassedSockets::default()).err().unwrap();
    assert_eq!(error.to_string(), "there is no group no-such-group-here in /etc/group");
}
