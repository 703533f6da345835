//! Stories about registries: real ones, and scripted ones that misbehave.

mod pushes;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};

use crate::testing::{LocalRegistry, ScriptedAnswer, ScriptedServer};
use crate::{
    Credential, Credentials, CredentialsError, HostConfig, Hosts, NoCredentials, Options, Pushed,
    Registry, RegistryError, StaticCredentials, Token, TokenRequest,
};

fn client() -> Registry {
    let retry_delays = [10, 10, 10].map(Duration::from_millis).into();
    let idle_timeout = Duration::from_secs(5);
    Registry::new(Hosts::default(), Options { retry_delays, idle_timeout, ..Options::default() })
}

fn anonymous() -> Arc<dyn Credentials> {
    Arc::new(NoCredentials)
}

fn local_registry() -> Option<LocalRegistry> {
    let registry = LocalRegistry::start().unwrap();
    if registry.is_none() {
        eprintln_skipped();
    }
    registry
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn eprintln_skipped() {
    eprintln!("skipped: needs docker-registry and openssl");
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
}

async fn collect(
    client: &Registry,
    reference: &Reference,
    blob: &Descriptor,
    offset: u64,
) -> Result<Vec<u8>, RegistryError> {
    let chunks: Vec<Bytes> =
        client.blob_stream(reference, blob, offset, anonymous()).try_collect().await?;
    Ok(chunks.concat())
}

/// Pushes an image of one layer and gives the layer and the manifest.
async fn push_image(
    client: &Registry,
    reference: &Reference,
    platform: &Platform,
    layer: &[u8],
) -> (Descriptor, Descriptor) {
    let layer_bytes = Bytes::copy_from_slice(layer);
    let layer = descriptor(media_type::OCI_LAYER, &layer_bytes);
    let mut config = ImageConfig::new(platform);
    config.rootfs.diff_ids = vec![layer.digest.clone()];
    let config_bytes = Bytes::from(serde_json::to_vec(&config).unwrap());
    let config = descriptor(media_type::OCI_CONFIG, &config_bytes);
    for (blob, bytes) in [(&layer, layer_bytes), (&config, config_bytes)] {
        client.push_blob(reference, blob, Arc::new(bytes), &[], &NoCredentials).await.unwrap();
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.into(),
        config,
        layers: vec![layer.clone()],
        annotations: BTreeMap::new(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    let mut pushed = descriptor(media_type::OCI_MANIFEST, &bytes);
    pushed.platform = Some(platform.clone());
    let digest = client
        .push_manifest(reference, media_type::OCI_MANIFEST, bytes, &NoCredentials)
        .await
        .unwrap();
    assert_eq!(digest, pushed.digest);
    (layer, pushed)
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled_by_us_and_by_skopeo() {
    let Some(server) = local_registry() else { return };
    let client = client();
    let reference: Reference = format!("{}/a/b:one", server.host()).parse().unwrap();
    let platform: Platform = "linux/arm64".parse().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (layer, manifest) = push_image(&client, &reference, &platform, &content).await;

    let resolved = client.resolve(&reference, &NoCredentials).await.unwrap();
    assert_eq!(resolved.descriptor.digest, manifest.digest);
    assert!(resolved.bytes.is_none(), "HEAD was enough");

    let plan = client.pull_image_plan(&reference, &platform, &NoCredentials).await.unwrap();
    assert_eq!(plan.config.platform, platform);
    assert_eq!(plan.layers(), std::slice::from_ref(&layer));
    assert!(collect(&client, &reference, &layer, 0).await.unwrap() == content);
    assert!(collect(&client, &reference, &layer, 2_999_990).await.unwrap() == content[2_999_990..]);

    if let Ok(output) = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--override-arch=arm64"])
        .arg(format!("docker://{}/a/b:one", server.host()))
        .output()
    {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{problem}");
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(seen["Digest"], manifest.digest.as_str());
        assert_eq!(seen["Layers"][0], layer.digest.as_str());
    }
}

#[tokio::test]
async fn a_missing_platform_is_told_with_those_there_are() {
    let Some(server) = local_registry() else { return };
    let client = client();
    let reference: Reference = format!("{}/multi:1", server.host()).parse().unwrap();
    let mut manifests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let by_platform: Reference =
            format!("{}/multi:{}", server.host(), platform.replace('/', "-")).parse().unwrap();
        let platform = platform.parse().unwrap();
        manifests.push(push_image(&client, &by_platform, &platform, b"layer").await.1);
    }
    let index = kiln_oci::Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.into(),
        manifests: manifests.clone(),
        annotations: BTreeMap::new(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&index).unwrap());
    client.push_manifest(&reference, media_type::OCI_INDEX, bytes, &NoCredentials).await.unwrap();

    let plan = |platform: &str| {
        let (client, reference, platform) =
            (client.clone(), reference.clone(), platform.parse::<Platform>().unwrap());
        async move { client.pull_image_plan(&reference, &platform, &NoCredentials).await }
    };
    assert_eq!(plan("linux/arm64").await.unwrap().descriptor.digest, manifests[1].digest);
    let text = plan("linux/s390x").await.unwrap_err().to_string();
    assert!(text.contains("no match for platform linux/s390x"), "{text}");
    assert!(text.contains("available: linux/amd64, linux/arm64"), "{text}");
}

#[tokio::test]
async fn a_blob_is_sent_once_and_taken_over_between_repositories() {
    let Some(server) = local_registry() else { return };
    let client = client();
    let bytes = Bytes::from_static(b"some content");
    let blob = descriptor(media_type::OCI_LAYER, &bytes);
    let push = async |repository: &str, origins: &[String]| {
        let reference = format!("{}/{repository}:x", server.host()).parse().unwrap();
        let source = Arc::new(bytes.clone());
        client.push_blob(&reference, &blob, source, origins, &NoCredentials).await.unwrap()
    };
    assert_eq!(push("one", &[]).await, Pushed::Uploaded);
    assert_eq!(push("one", &[]).await, Pushed::Existed);
    assert_eq!(push("two", &["one".into()]).await, Pushed::Mounted);
    assert_eq!(push("three", &["nowhere".into()]).await, Pushed::Uploaded);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let Some(server) = local_registry() else { return };
    let reference: Reference = format!("{}/no/such:image", server.host()).parse().unwrap();
    let error = client().resolve(&reference, &NoCredentials).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains(&format!("{reference}: not found")), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_named_as_such() {
    let reference: Reference = "127.0.0.1:1/x".parse().unwrap();
    let error = client().resolve(&reference, &NoCredentials).await.unwrap_err();
    assert!(error.is_unreachable());
    assert!(error.to_string().contains("127.0.0.1:1: connection refused"), "{error}");
}

#[tokio::test]
async fn a_name_without_an_address_is_named_as_such() {
    let reference: Reference = "nobody.invalid:5000/x".parse().unwrap();
    let error = client().resolve(&reference, &NoCredentials).await.unwrap_err();
    assert!(error.is_unreachable());
    let words = "cannot reach registry nobody.invalid:5000: dial tcp: lookup nobody.invalid: ";
    assert!(error.to_string().starts_with(words), "{error}");
}

#[tokio::test]
async fn a_place_that_has_it_not_tells_more_than_one_that_is_not_there() {
    let mirror = ScriptedServer::start(|_| ScriptedAnswer::new(404, "")).unwrap();
    let broken = ScriptedServer::start(|_| ScriptedAnswer::new(500, "")).unwrap();
    let reference: Reference = format!("127.0.0.1:1/x@{}", Digest::sha256("x")).parse().unwrap();
    let with = |mirrors: Vec<String>| {
        let config = HostConfig { mirrors, ..HostConfig::default() };
        let hosts = Hosts::new([("127.0.0.1:1".to_owned(), config)].into());
        Registry::new(hosts, Options { retry_delays: Vec::new(), ..Options::default() })
    };
    let registry = with(vec![mirror.host()]);
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256("x"), 1);
    let errors = [
        registry.resolve(&reference, &NoCredentials).await.unwrap_err(),
        registry.document(&reference, &descriptor, &NoCredentials).await.unwrap_err(),
        registry.blob_size(&reference, &descriptor.digest, &NoCredentials).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_not_found() && error.to_string().contains(&mirror.host()), "{error}");
    }
    let error = with(vec![broken.host()]).resolve(&reference, &NoCredentials).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1: connection refused"), "{error}");
}

/// A server with one manifest, which answers only to `authorization`, and gives tokens.
fn guarded_server(accepts: &'static str) -> ScriptedServer {
    ScriptedServer::start(move |request| {
        let host = request.header("host").to_owned();
        if request.target.starts_with("/token") {
            return token_answer(request);
        }
        if request.header("authorization") != accepts {
            let challenge = match accepts.split(' ').next() {
                Some("Basic") => "Basic realm=\"here\"".to_owned(),
                _ => format!(
                    "Bearer realm=\"http://{host}/token\",service=\"test\",\
                     scope=\"repository:x:pull\""
                ),
            };
            return ScriptedAnswer::new(401, "").with("WWW-Authenticate", &challenge);
        }
        ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
    })
    .unwrap()
}

fn token_answer(request: &crate::testing::ScriptedRequest) -> ScriptedAnswer {
    let body = String::from_utf8_lossy(&request.body);
    match (request.method.as_str(), request.header("authorization"), body.as_ref()) {
        // user:pass
        ("GET", "Basic dXNlcjpwYXNz", _) => {
            ScriptedAnswer::new(200, r#"{"token":"by-get","expires_in":300}"#)
        }
        // other:pass
        ("GET", "Basic b3RoZXI6cGFzcw==", _) => ScriptedAnswer::new(401, "use POST"),
        ("POST", "", form) if form.contains("grant_type=password") => {
            ScriptedAnswer::new(200, r#"{"access_token":"by-post"}"#)
        }
        ("POST", "", form) if form.contains("refresh_token=idtoken") => {
            ScriptedAnswer::new(200, r#"{"access_token":"by-refresh"}"#)
        }
        _ => ScriptedAnswer::new(401, r#"{"errors":[{"code":"DENIED","message":"who are you"}]}"#),
    }
}

async fn resolve_guarded(
    client: &Registry,
    server: &ScriptedServer,
    credentials: &dyn Credentials,
) -> Result<(), RegistryError> {
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    client.resolve(&reference, credentials).await.map(|_| ())
}

#[tokio::test]
async fn tokens_are_had_by_get_by_post_and_by_identity_token() {
    for (user, secret, bearer) in [
        ("user", "pass", "Bearer by-get"),
        ("other", "pass", "Bearer by-post"),
        ("", "idtoken", "Bearer by-refresh"),
    ] {
        let server = guarded_server(bearer);
        let credentials = StaticCredentials::new(&server.host(), user, secret);
        resolve_guarded(&client(), &server, &credentials).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_per_identity() {
    let server = guarded_server("Bearer by-get");
    let client = client();
    let credentials = StaticCredentials::new(&server.host(), "user", "pass");
    resolve_guarded(&client, &server, &credentials).await.unwrap();
    resolve_guarded(&client, &server, &credentials).await.unwrap();
    let tokens = || server.asked().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens(), 1);
    assert!(
        server.asked().iter().any(|line| line.contains("scope=repository%3Ax%3Apull")),
        "{:?}",
        server.asked()
    );
    let error = resolve_guarded(&client, &server, &NoCredentials).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("who are you"), "{error}");
    assert_eq!(tokens(), 2);
}

#[tokio::test]
async fn basic_authentication_needs_a_login() {
    let server = guarded_server("Basic dXNlcjpwYXNz");
    let credentials = StaticCredentials::new(&server.host(), "user", "pass");
    resolve_guarded(&client(), &server, &credentials).await.unwrap();
    let error = resolve_guarded(&client(), &server, &NoCredentials).await.unwrap_err();
    assert!(error.to_string().contains("log in to 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_busy_authorization_server_is_waited_for() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |request| {
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
        match (request.target.as_str(), request.header("authorization")) {
            (target, _) if target.starts_with("/token") => {
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => ScriptedAnswer::new(503, ""),
                    _ => ScriptedAnswer::new(200, r#"{"token":"t"}"#),
                }
            }
            (_, "Bearer t") => {
                ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
            }
            _ => ScriptedAnswer::new(401, "").with("WWW-Authenticate", &realm),
        }
    })
    .unwrap();
    resolve_guarded(&client(), &server, &NoCredentials).await.unwrap();
}

#[tokio::test]
async fn an_authorization_server_that_fails_once_is_asked_again() {
    let failures = [
        ScriptedAnswer::cut(),
        ScriptedAnswer::new(429, "").with("Retry-After", "0"),
        ScriptedAnswer::new(500, ""),
        ScriptedAnswer::new(502, ""),
        ScriptedAnswer::new(503, ""),
        ScriptedAnswer::new(504, ""),
    ];
    for failure in failures {
        let count = AtomicUsize::new(0);
        let first = failure.clone();
        let server = ScriptedServer::start(move |request| {
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
            match (request.target.as_str(), request.header("authorization")) {
                (target, _) if target.starts_with("/token") => {
                    match count.fetch_add(1, Ordering::SeqCst) {
                        0 => first.clone(),
                        _ => ScriptedAnswer::new(200, r#"{"token":"t"}"#),
                    }
                }
                (_, "Bearer t") => {
                    ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
                }
                _ => ScriptedAnswer::new(401, "").with("WWW-Authenticate", &realm),
            }
        })
        .unwrap();
        let resolved = resolve_guarded(&client(), &server, &NoCredentials).await;
        resolved.unwrap_or_else(|error| panic!("{failure:?}: {error}"));
        let credentials = StaticCredentials::new(&server.host(), "user", "pass");
        resolve_guarded(&client(), &server, &credentials).await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_pass_is_asked_for_once() {
    for status in [400, 403, 404, 408, 410, 418] {
        let server = ScriptedServer::start(move |_| ScriptedAnswer::new(status, "no")).unwrap();
        let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
        let blob = descriptor(media_type::OCI_LAYER, b"content");
        let error = collect(&client(), &reference, &blob, 0).await.unwrap_err();
        assert!(!error.is_unreachable(), "{error}");
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

/// A client that gives up soon, and what it says meanwhile.
fn impatient() -> (Registry, Arc<std::sync::Mutex<Vec<String>>>) {
    let options = Options {
        retry_delays: [10, 10].map(Duration::from_millis).into(),
        idle_timeout: Duration::from_millis(300),
        min_bytes_per_second: 100_000,
        ..Options::default()
    };
    let said = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&said);
    let notice = Arc::new(move |text: &str| heard.lock().unwrap().push(text.to_owned()));
    (Registry::new(Hosts::default(), options).with_notice(notice), said)
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_named_with_what_was_asked_for_and_for_how_long() {
    let server = ScriptedServer::start(|request| match request.target.contains("/manifests/") {
        true => ScriptedAnswer::new(200, "{}")
            .with("Content-Type", media_type::OCI_MANIFEST)
            .stalling_after(1),
        false => ScriptedAnswer::new(200, "content").stalling_after(0),
    })
    .unwrap();
    let (client, said) = impatient();
    let error = resolve_guarded(&client, &server, &NoCredentials).await.unwrap_err();
    let text = error.to_string();
    let begin = format!("{host}/x:1: registry {host} sent nothing for 0.3 s", host = server.host());
    assert!(text.starts_with(&begin) && text.contains("after 3 attempts"), "{text}");
    assert_eq!(said.lock().unwrap().len(), 2, "{said:?}");

    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, b"content");
    let text = collect(&client, &reference, &blob, 0).await.unwrap_err().to_string();
    assert!(text.contains(blob.digest.as_str()) && text.contains(&server.host()), "{text}");
    assert!(text.contains("sent nothing for 0.3 s (given up after 3 attempts"), "{text}");
}

#[tokio::test]
async fn a_registry_that_drips_is_too_slow() {
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(200, vec![0; 1000]).dripping(Duration::from_millis(20))
    })
    .unwrap();
    let (client, _) = impatient();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, &[0; 1000]);
    let text = collect(&client, &reference, &blob, 0).await.unwrap_err().to_string();
    assert!(text.contains("sent less than 100000 bytes a second for 0.3 s"), "{text}");
    let mut ranges = server.requests().into_iter().skip(1).map(|r| r.header("range").to_owned());
    assert!(ranges.all(|range| range.starts_with("bytes=")), "it goes on where it stopped");
}

#[tokio::test]
async fn a_download_that_stalls_goes_on_where_it_stopped() {
    let content: Vec<u8> = (0..100_u8).collect();
    let served = content.clone();
    let server = ScriptedServer::start(move |request| {
        let start = request.header("range").trim_start_matches("bytes=").trim_end_matches('-');
        let start: usize = start.parse().unwrap_or(0);
        let answer = ScriptedAnswer::new(if start == 0 { 200 } else { 206 }, &served[start..]);
        answer.with("Content-Range", &format!("bytes {start}-99/100")).stalling_after(60)
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, &content);
    let (client, said) = impatient();
    assert_eq!(collect(&client, &reference, &blob, 0).await.unwrap(), content);
    assert!(said.lock().unwrap()[0].contains("trying again in 0.01 s"), "{said:?}");
    let ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=60-"]);
}

/// Answers questions about blobs and reads none that is sent.
fn server_that_takes_nothing() -> String {
    use std::io::{BufRead as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            let answer = match first.split(' ').next() {
                Some("HEAD") => "404 No",
                Some("POST") => "202 Go\r\nLocation: /v2/x/blobs/uploads/1",
                _ => {
                    open.push(stream);
                    continue;
                }
            };
            let rest = "Connection: close\r\nContent-Length: 0";
            write!(&stream, "HTTP/1.1 {answer}\r\n{rest}\r\n\r\n").ok();
        }
    });
    host
}

/// Zeros, in pieces as files are read.
struct Zeros(usize);

impl crate::BodySource for Zeros {
    fn open(&self) -> futures::stream::BoxStream<'static, std::io::Result<Bytes>> {
        let piece = Bytes::from(vec![0; 256 << 10]);
        Box::pin(futures::stream::iter(std::iter::repeat_n(piece, self.0).map(Ok)))
    }
}

#[tokio::test]
async fn a_registry_that_takes_nothing_of_a_push_is_named() {
    let host = server_that_takes_nothing();
    let reference: Reference = format!("{host}/x:1").parse().unwrap();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256("zeros"), 64 << 20);
    let options = Options {
        retry_delays: vec![Duration::from_millis(1)],
        idle_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let client = Registry::new(Hosts::default(), options);
    let source = Arc::new(Zeros(256));
    let pushed = client.push_blob(&reference, &blob, source, &[], &NoCredentials).await;
    let text = pushed.unwrap_err().to_string();
    assert!(text.contains("took nothing of what is pushed for 400ms"), "{text}");
    assert!(text.contains(&host) && text.contains(blob.digest.as_str()), "{text}");
}

#[tokio::test]
async fn what_needs_a_login_is_not_public() {
    for (accepts, login, is_public) in [
        ("", None, true),
        ("Basic dXNlcjpwYXNz", Some(("user", "pass")), false),
        ("Bearer by-get", Some(("user", "pass")), false),
    ] {
        let server = guarded_server(accepts);
        let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
        let resolved = match login {
            None => client().resolve(&reference, &NoCredentials).await,
            Some((user, secret)) => {
                let credentials = StaticCredentials::new(&server.host(), user, secret);
                client().resolve(&reference, &credentials).await
            }
        };
        assert_eq!(resolved.unwrap().is_public, is_public, "{accepts}");
    }
}

#[tokio::test]
async fn a_blob_that_may_not_be_taken_over_is_sent() {
    let server = ScriptedServer::start(move |request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" if request.target.contains("mount=") => ScriptedAnswer::new(403, "not yours"),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1"),
        _ => ScriptedAnswer::new(201, ""),
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let bytes = Bytes::from_static(b"content");
    let blob = descriptor(media_type::OCI_LAYER, &bytes);
    let origins = ["private".to_owned()];
    let pushed =
        client().push_blob(&reference, &blob, Arc::new(bytes), &origins, &NoCredentials).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
}

/// A session that fetches tokens itself.
struct TokenSession;

#[async_trait]
impl Credentials for TokenSession {
    fn identity(&self) -> &'static str {
        "session"
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credential>, CredentialsError> {
        Err("the secret stays with the client".into())
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, CredentialsError> {
        assert_eq!(request.scopes, ["repository:x:pull"]);
        assert_eq!(request.service, "test");
        Ok(Some(Token { token: "by-session".into(), expires_in: None }))
    }
}

#[tokio::test]
async fn a_session_that_fetches_tokens_is_never_asked_for_the_secret() {
    let server = guarded_server("Bearer by-session");
    resolve_guarded(&client(), &server, &TokenSession).await.unwrap();
}

#[tokio::test]
async fn a_login_is_not_sent_to_where_a_redirect_leads() {
    let body = b"content".to_vec();
    let storage = ScriptedServer::start(|_| ScriptedAnswer::new(200, "content")).unwrap();
    let target = format!("http://{}/elsewhere?signature=1", storage.host());
    let server = ScriptedServer::start(move |request| match request.header("authorization") {
        "" => ScriptedAnswer::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        _ => ScriptedAnswer::new(307, "").with("Location", &target),
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let credentials = Arc::new(StaticCredentials::new(&server.host(), "user", "pass"));
    let blob = descriptor(media_type::OCI_LAYER, &body);
    let chunks: Vec<Bytes> =
        client().blob_stream(&reference, &blob, 0, credentials).try_collect().await.unwrap();
    assert_eq!(chunks.concat(), body);
    assert_eq!(server.requests()[1].header("authorization"), "Basic dXNlcjpwYXNz");
    assert_eq!(storage.requests()[0].header("authorization"), "");
}

#[tokio::test]
async fn failures_that_pass_are_waited_for() {
    for (status, retry_after) in [(503, None), (500, None), (429, Some("0"))] {
        let count = AtomicUsize::new(0);
        let server = ScriptedServer::start(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) >= 2 {
                return ScriptedAnswer::new(200, "{}")
                    .with("Content-Type", media_type::OCI_MANIFEST);
            }
            let answer = ScriptedAnswer::new(status, "");
            retry_after.into_iter().fold(answer, |answer, value| answer.with("Retry-After", value))
        })
        .unwrap();
        resolve_guarded(&client(), &server, &NoCredentials).await.unwrap();
        assert_eq!(server.asked().len(), 4, "two failures, HEAD without a digest, GET");
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_an_error() {
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(429, "slow down").with("Retry-After", "3600")
    })
    .unwrap();
    let error = resolve_guarded(&client(), &server, &NoCredentials).await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { .. }), "{error}");
    assert!(error.to_string().contains("slow down"), "{error}");
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let content: Vec<u8> = (0..100_u8).collect();
    let served = content.clone();
    let server = ScriptedServer::start(move |request| {
        let start = request.header("range").trim_start_matches("bytes=").trim_end_matches('-');
        let start: usize = start.parse().unwrap_or(0);
        let end = (start + 40).min(served.len());
        let answer = ScriptedAnswer::new(if start == 0 { 200 } else { 206 }, &served[start..end]);
        answer
            .with("Content-Range", &format!("bytes {start}-99/100"))
            .announce((served.len() - start) as u64)
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, &content);
    assert_eq!(collect(&client(), &reference, &blob, 0).await.unwrap(), content);
    let ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=40-", "bytes=80-"]);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let server = ScriptedServer::start(|_| ScriptedAnswer::new(200, "0123456789")).unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, b"0123456789");
    assert_eq!(collect(&client(), &reference, &blob, 7).await.unwrap(), b"789");
}

#[tokio::test]
async fn a_blob_of_another_length_is_refused() {
    let server = ScriptedServer::start(|_| ScriptedAnswer::new(200, "0123456789")).unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let short = collect(&client(), &reference, &descriptor("x", b"012345"), 0).await;
    assert!(matches!(short, Err(RegistryError::TooLarge { limit: 6, .. })), "{short:?}");
    let long = collect(&client(), &reference, &descriptor("x", b"0123456789ab"), 0).await;
    assert!(long.unwrap_err().to_string().contains("ended after 10 of 12 bytes"));
}

#[tokio::test]
async fn a_huge_manifest_is_not_read() {
    for announced in [1 << 40, 5 << 20] {
        let server = ScriptedServer::start(move |_| {
            ScriptedAnswer::new(200, vec![b' '; 5 << 20])
                .with("Content-Type", "application/json")
                .announce(announced)
        })
        .unwrap();
        let error = resolve_guarded(&client(), &server, &NoCredentials).await.unwrap_err();
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_refused() {
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(200, "{\"evil\":1}").with("Content-Type", media_type::OCI_MANIFEST)
    })
    .unwrap();
    let wanted = Digest::sha256("{}");
    let reference: Reference = format!("{}/x@{wanted}", server.host()).parse().unwrap();
    let error = client().resolve(&reference, &NoCredentials).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    assert!(error.to_string().contains(&format!("wanted {wanted}")), "{error}");
}

#[tokio::test]
async fn redirects_that_never_end_are_an_error() {
    let server =
        ScriptedServer::start(|_| ScriptedAnswer::new(302, "").with("Location", "/round")).unwrap();
    let error = resolve_guarded(&client(), &server, &NoCredentials).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_over_and_told_what_is_wanted() {
    let broken = ScriptedServer::start(|_| ScriptedAnswer::new(404, "")).unwrap();
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
    })
    .unwrap();
    let mirrors = vec![broken.host(), format!("{}/proxy", server.host())];
    let config = HostConfig { mirrors, ..HostConfig::default() };
    let hosts = Hosts::new([("docker.io".to_owned(), config)].into());
    let client = Registry::new(hosts, Options::default());
    client.resolve(&"alpine".parse().unwrap(), &NoCredentials).await.unwrap();
    let asked = "/v2/library/alpine/manifests/latest?ns=docker.io";
    assert_eq!(broken.asked()[0], format!("HEAD {asked}"));
    assert_eq!(server.asked()[0], format!("HEAD {}", asked.replace("/v2/", "/v2/proxy/")));
}

#[tokio::test]
async fn an_upload_that_breaks_starts_over() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1?state=a"),
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => ScriptedAnswer::new(502, ""),
        _ => ScriptedAnswer::new(201, ""),
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let bytes = Bytes::from_static(b"content");
    let blob = descriptor(media_type::OCI_LAYER, &bytes);
    let pushed = client().push_blob(&reference, &blob, Arc::new(bytes), &[], &NoCredentials).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let puts: Vec<_> =
        server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[1].body, b"content");
    assert!(puts[1].target.starts_with("/v2/x/blobs/uploads/1?state=a&digest=sha256"));
}

#[tokio::test]
async fn plain_http_is_used_after_tls_only_where_it_is_allowed() {
    let server = ScriptedServer::start(|_| {
        ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
    })
    .unwrap();
    let with = |http, insecure| {
        let config = HostConfig { http: Some(http), insecure, ..HostConfig::default() };
        let hosts = Hosts::new([(server.host(), config)].into());
        Registry::new(hosts, Options { retry_delays: Vec::new(), ..Options::default() })
    };
    resolve_guarded(&with(true, true), &server, &NoCredentials).await.unwrap();
    let error = resolve_guarded(&with(false, true), &server, &NoCredentials).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_when_it_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.crt"), directory.path().join("k.pem"));
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test".split(' '))
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return eprintln_skipped();
    }
    let Some(server) = LocalRegistry::start_tls(&certificate, &key).unwrap() else {
        return eprintln_skipped();
    };
    let resolve = async |config: HostConfig| {
        let hosts = Hosts::new([(server.host(), config)].into());
        let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
        let client = Registry::new(hosts, Options::default());
        client.resolve(&reference, &NoCredentials).await.unwrap_err()
    };
    let tls = HostConfig { http: Some(false), ..HostConfig::default() };
    let mut trusting = tls.clone();
    trusting.add_tls_directory(directory.path()).unwrap();

    let error = resolve(tls.clone()).await;
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    let error = resolve(HostConfig { insecure: true, ..tls }).await;
    assert!(error.is_not_found(), "{error}");
    let error = resolve(trusting).await;
    assert!(error.is_not_found(), "{error}");
}

/// A file that cannot be read.
struct Unreadable;

impl crate::BodySource for Unreadable {
    fn open(&self) -> futures::stream::BoxStream<'static, std::io::Result<Bytes>> {
        let error = std::io::Error::other("the disk is gone");
        Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"con")), Err(error)]))
    }
}

#[tokio::test]
async fn content_that_cannot_be_read_is_not_blamed_on_the_registry() {
    let server = ScriptedServer::start(|request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        _ => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1"),
    })
    .unwrap();
    let reference: Reference = format!("{}/x:1", server.host()).parse().unwrap();
    let blob = descriptor(media_type::OCI_LAYER, b"content");
    let pushed =
        client().push_blob(&reference, &blob, Arc::new(Unreadable), &[], &NoCredentials).await;
    let Err(RegistryError::Body { source, .. }) = pushed else { panic!("{pushed:?}") };
    assert_eq!(source.to_string(), "the disk is gone");
}
