//! Stories about the proxy, with servers of this process's own: what a step asks, what comes back, and what
//! is noted.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use kiln_oci::Digest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::{Authority, Captured, Egress, Judge, Proxy, ProxyParts, Reason};

/// All names are those of one server here.
#[derive(Debug)]
struct OneServer(u16);

#[async_trait]
impl Egress for OneServer {
    async fn connect(&self, host: &str, _: u16) -> io::Result<TcpStream> {
        match host {
            "nobody.test" => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
            _ => TcpStream::connect(("127.0.0.1", self.0)).await,
        }
    }
}

struct Rules;

#[async_trait]
impl Judge for Rules {
    async fn judge(&self, url: &str) -> Result<Option<String>, String> {
        match url {
            "http://a.test/old" => Ok(Some("http://a.test/new".into())),
            "http://a.test/gone" => Ok(Some("ftp://a.test/new".into())),
            url if url.ends_with("/denied") => Err("denied".into()),
            _ => Ok(None),
        }
    }
}

/// A server that answers each path in its own way, and counts connections.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(head) = head(&mut stream).await {
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let answer = answer(&path, &head);
                    if stream.get_mut().write_all(answer.as_bytes()).await.is_err()
                        || path == "/cut"
                    {
                        break;
                    }
                }
            });
        }
    });
    port
}

fn answer(path: &str, head: &str) -> String {
    let whole = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len())
    };
    match path {
        "/moved" => whole("302 Found", "Location: /new\r\n", ""),
        "/missing" => whole("404 Not Found", "", "no"),
        "/chunks" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into()
        }
        "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".into(),
        // The server sees no more than is meant for it.
        "/head" => whole("200 OK", "Connection: x-mine\r\nX-Mine: 1\r\n", &head.to_lowercase()),
        path => whole("200 OK", "", &format!("content of {path}")),
    }
}

/// The next head, up to its empty line.
async fn head(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

struct World {
    proxy: Proxy,
    authority: Arc<Authority>,
}

impl World {
    async fn new(judge: Option<Arc<dyn Judge>>) -> Self {
        let authority = Arc::new(Authority::new(SystemTime::now()).unwrap());
        let egress = Arc::new(OneServer(server().await));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let parts = ProxyParts { authority: Arc::clone(&authority), egress, judge };
        Self { proxy: Proxy::serve(listener, parts).unwrap(), authority }
    }

    /// What comes back on one connection, until that is closed.
    async fn says(&self, requests: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn gets(&self, url: &str) -> String {
        self.says(&format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }
}

fn materials(captured: &Captured) -> Vec<(&str, &Digest)> {
    captured.materials.iter().map(|it| (it.url.as_str(), &it.digest)).collect()
}

fn gaps(captured: &Captured) -> Vec<(&str, &str, Reason)> {
    let gap = |gap: &'_ crate::Gap| (gap.method.clone(), gap.url.clone(), gap.reason);
    let gaps: Vec<_> = captured.gaps.iter().map(gap).collect();
    gaps.into_iter().map(|(method, url, reason)| (&*method.leak(), &*url.leak(), reason)).collect()
}

#[tokio::test]
async fn what_is_fetched_comes_back_and_is_noted_with_its_digest() {
    let world = World::new(None).await;
    let answer = world.gets("http://user:word@a.test:80/file?x=1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncontent of /file?x=1"), "{answer}");
    assert!(world.gets("http://a.test/chunks").await.contains("abc"));
    world.gets("http://b.test:81/moved").await;
    world.gets("http://b.test:81/new").await;
    let captured = world.proxy.finish().await;
    let digests = ["content of /file?x=1", "abc", "content of /new"].map(Digest::sha256);
    assert_eq!(
        materials(&captured),
        [
            ("http://xxxxx:xxxxx@a.test/file?x=1", &digests[0]),
            ("http://a.test/chunks", &digests[1]),
            ("http://b.test:81/new", &digests[2]),
            // What leads there.
            ("http://b.test:81/moved", &digests[2]),
        ]
    );
    assert_eq!(gaps(&captured), []);
    assert_eq!(
        captured.lines(),
        "proxy network requests:\n- GET http://xxxxx:xxxxx@a.test/file?x=1 -> 200\n\
         - GET http://a.test/chunks -> 200\n- GET http://b.test:81/moved -> 302\n\
         - GET http://b.test:81/new -> 200\n"
    );
}

#[tokio::test]
async fn what_is_not_known_exactly_is_noted_with_the_reason() {
    let world = World::new(None).await;
    world.gets("http://a.test/missing").await;
    let answer = world.gets("http://nobody.test/").await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let ask = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{more}\r\n")
    };
    world.says(&ask("POST http://a.test/post", "Content-Length: 0\r\n")).await;
    world.says(&ask("GET http://a.test/part", "Range: bytes=0-3\r\n")).await;
    world.says(&ask("GET http://a.test/cut", "")).await;
    let captured = world.proxy.finish().await;
    assert_eq!(materials(&captured), []);
    assert_eq!(
        gaps(&captured),
        [
            ("GET", "http://a.test/missing", Reason::Unsuccessful),
            ("GET", "http://nobody.test/", Reason::Upstream),
            ("POST", "http://a.test/post", Reason::Method),
            ("GET", "http://a.test/part", Reason::Partial),
            ("GET", "http://a.test/cut", Reason::BodyFailed),
        ]
    );
}

#[tokio::test]
async fn neighbours_keep_to_themselves_what_is_theirs() {
    let world = World::new(None).await;
    let answer = world
        .says(
            "GET http://a.test/head HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\nX-Hop: 1\r\n\
             Accept-Encoding: gzip\r\nKeep-Alive: 1\r\nConnection: close, X-Hop\r\nX-Kept: 1\r\n\r\n",
        )
        .await;
    assert!(answer.contains("host: a.test") && answer.contains("x-kept: 1"), "{answer}");
    for gone in ["proxy-authorization", "x-hop", "accept-encoding", "keep-alive", "X-Mine"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
}

#[tokio::test]
async fn who_closes_one_half_is_answered_on_the_other() {
    let world = World::new(None).await;
    let asked = [
        ("GET https://nobody.test/denied", "HTTP/1.1 502 Bad Gateway\r\n"),
        ("GET http://a.test/file", "HTTP/1.1 200 OK\r\n"),
    ];
    for (request, answer) in asked {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(answer), "{said}");
    }
}

#[tokio::test]
async fn a_judge_refuses_and_converts() {
    let world = World::new(Some(Arc::new(Rules))).await;
    let answer = world.gets("http://a.test/denied").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(world.gets("http://a.test/gone").await.starts_with("HTTP/1.1 403"));
    assert!(world.gets("http://a.test/old").await.ends_with("content of /new"));
    let post = "POST http://a.test/old HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(world.says(post).await.starts_with("HTTP/1.1 403"));
    let captured = world.proxy.finish().await;
    let digest = Digest::sha256("content of /new");
    assert_eq!(materials(&captured), [("http://a.test/new", &digest)]);
    let statuses: Vec<u16> = captured.requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [403, 403, 200, 403]);
}

#[tokio::test]
async fn for_encrypted_requests_it_is_the_server_that_a_step_trusts() {
    let world = World::new(None).await;
    for (authority, name) in
        [("nobody.test:443", "nobody.test"), ("[::1]:8443", "::1"), ("127.0.0.1:443", "127.0.0.1")]
    {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await.unwrap();
        let mut said = [0; 64];
        let length = stream.read(&mut said).await.unwrap();
        assert!(said[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(world.authority.certificate().as_bytes());
        roots.add(certificate.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerName::try_from(name).unwrap();
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(server, stream).await.unwrap();
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        // The end of TLS may be missing.
        stream.read_to_string(&mut answer).await.ok();
        // The servers here speak no TLS.
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    }
    let captured = world.proxy.finish().await;
    let urls: Vec<&str> = captured.requests.iter().map(|request| request.url.as_str()).collect();
    // The server is the tunnel's, whatever the request says.
    assert_eq!(urls, ["https://nobody.test/a", "https://[::1]:8443/a", "https://127.0.0.1/a"]);
}

#[tokio::test]
async fn hostile_requests_get_no_further() {
    let world = World::new(None).await;
    let long = "x".repeat(100 << 10);
    let many = "X-Y: 1\r\n".repeat(300);
    for request in [
        format!("GET http://a.test/{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        format!("GET http://a.test/ HTTP/1.1\r\n{many}\r\n"),
        "GET ftp://a.test/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET http://a b/ HTTP/1.1\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let mut stream = TcpStream::connect(world.proxy.address()).await.unwrap();
        // It may be refused before it has been heard to its end.
        stream.write_all(request.as_bytes()).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(world.proxy.finish().await.requests, []);
}

#[test]
fn names_of_servers_are_names_or_addresses_and_are_remembered() {
    let authority = Authority::new(SystemTime::now()).unwrap();
    let now = SystemTime::now();
    let first = authority.server("a.test", now).unwrap();
    assert!(Arc::ptr_eq(&first, &authority.server("a.test", now).unwrap()));
    let later = now + std::time::Duration::from_secs(24 * 60 * 60);
    assert!(!Arc::ptr_eq(&first, &authority.server("a.test", later).unwrap()));
    assert!(authority.server("", now).is_err());
    assert!(authority.server(&"a".repeat(300), now).is_err());
}
