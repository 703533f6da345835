//! Pushes that are refused, cut off or kept waiting.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;

fn reference(host: &str) -> Reference {
    format!("{host}/x:1").parse().unwrap()
}

async fn push(host: &str, origins: &[&str]) -> Result<Pushed, RegistryError> {
    let bytes = Bytes::from_static(b"content");
    let blob = descriptor(media_type::OCI_LAYER, &bytes);
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let client = client();
    client.push_blob(&reference(host), &blob, Arc::new(bytes), &origins, &NoCredentials).await
}

async fn push_manifest(host: &str) -> Result<Digest, RegistryError> {
    let manifest = Bytes::from_static(b"{}");
    let client = client();
    client.push_manifest(&reference(host), media_type::OCI_MANIFEST, manifest, &NoCredentials).await
}

/// Takes blobs; what becomes of the last step of each is said.
fn taking(
    last: impl Fn() -> ScriptedAnswer + Send + Sync + 'static,
) -> (ScriptedServer, impl Fn() -> usize) {
    let server = ScriptedServer::start(move |request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1"),
        _ => last(),
    })
    .unwrap();
    let asked = server.clone();
    (server, move || asked.requests().iter().filter(|request| request.method == "PUT").count())
}

#[tokio::test]
async fn a_push_that_is_refused_says_in_whose_words_and_ends_at_once() {
    for status in [401, 403, 404] {
        let body = r#"{"errors":[{"code":"DENIED","message":"the quota is used up"}]}"#;
        let server = ScriptedServer::start(move |request| match request.method.as_str() {
            "HEAD" => ScriptedAnswer::new(404, ""),
            _ => ScriptedAnswer::new(status, body),
        })
        .unwrap();
        let text = push(&server.host(), &[]).await.unwrap_err().to_string();
        assert!(text.contains("the quota is used up") && text.contains("x@sha256:"), "{text}");
        let text = push_manifest(&server.host()).await.unwrap_err().to_string();
        assert!(text.contains("the quota is used up") && text.contains("/x:1"), "{text}");
        let asked = server.asked();
        assert_eq!(asked.len(), 3, "{status}: {asked:?}");
    }
}

#[tokio::test]
async fn a_push_waits_for_what_passes_and_gives_up_what_does_not() {
    let failures = || {
        [
            ScriptedAnswer::cut(),
            ScriptedAnswer::new(429, "").with("Retry-After", "0"),
            ScriptedAnswer::new(500, ""),
            ScriptedAnswer::new(503, ""),
        ]
    };
    for failure in failures() {
        let count = AtomicUsize::new(0);
        let first = failure.clone();
        let (server, puts) = taking(move || match count.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => first.clone(),
            _ => ScriptedAnswer::new(201, ""),
        });
        let pushed = push(&server.host(), &[]).await;
        assert!(matches!(pushed, Ok(Pushed::Uploaded)), "{failure:?}: {pushed:?}");
        push_manifest(&server.host()).await.unwrap_or_else(|error| panic!("{failure:?}: {error}"));
        assert_eq!(puts(), 4, "{failure:?}");
    }
    for failure in failures() {
        let again = failure.clone();
        let (server, puts) = taking(move || again.clone());
        let error = push(&server.host(), &[]).await.unwrap_err();
        assert!(error.is_unreachable(), "{failure:?}: {error}");
        assert!(error.to_string().contains(&server.host()), "{error}");
        assert_eq!(puts(), 4, "as often as is asked: {failure:?}");
    }
}

#[tokio::test]
async fn a_registry_that_takes_nothing_over_is_sent_the_blob_in_whatever_way_it_says_so() {
    for status in [202, 400, 403, 404, 405] {
        let server = ScriptedServer::start(move |request| match request.method.as_str() {
            "HEAD" => ScriptedAnswer::new(404, ""),
            "POST" if request.target.contains("mount=") && status != 202 => {
                ScriptedAnswer::new(status, "")
            }
            "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1"),
            _ => ScriptedAnswer::new(201, ""),
        })
        .unwrap();
        let pushed = push(&server.host(), &["base", "other"]).await;
        assert!(matches!(pushed, Ok(Pushed::Uploaded)), "{status}: {pushed:?}");
        let last = server.requests().pop().unwrap();
        assert_eq!((last.method.as_str(), &last.body[..]), ("PUT", &b"content"[..]), "{status}");
    }
}

#[tokio::test]
async fn a_token_that_runs_out_in_the_middle_of_a_push_is_fetched_anew() {
    // Each token is good for two requests.
    let (tokens, uses) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<String, usize>::new()));
    let server = ScriptedServer::start(move |request| {
        if request.target.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return ScriptedAnswer::new(
                200,
                format!(r#"{{"token":"t{number}","expires_in":300}}"#),
            );
        }
        let mut uses = uses.lock().unwrap();
        let count = uses.entry(request.header("authorization").to_owned()).or_default();
        *count += 1;
        if !request.header("authorization").starts_with("Bearer t") || *count > 2 {
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
            return ScriptedAnswer::new(401, "").with("WWW-Authenticate", &realm);
        }
        match request.method.as_str() {
            "HEAD" => ScriptedAnswer::new(404, ""),
            "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/x/blobs/uploads/1"),
            _ => ScriptedAnswer::new(201, ""),
        }
    })
    .unwrap();
    let bytes = Bytes::from_static(b"content");
    let blob = descriptor(media_type::OCI_LAYER, &bytes);
    let (client, name) = (client(), reference(&server.host()));
    let pushed = client.push_blob(&name, &blob, Arc::new(bytes), &[], &NoCredentials).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let manifest = Bytes::from_static(b"{}");
    client.push_manifest(&name, media_type::OCI_MANIFEST, manifest, &NoCredentials).await.unwrap();
    let fetched = server.asked().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(fetched, 2, "{:?}", server.asked());
}

#[tokio::test]
async fn an_authorization_server_that_only_hangs_up_is_named() {
    let tokens = ScriptedServer::start(|_| ScriptedAnswer::cut()).unwrap();
    let realm = format!("Bearer realm=\"http://{}/token\"", tokens.host());
    let server = ScriptedServer::start(move |_| {
        ScriptedAnswer::new(401, "").with("WWW-Authenticate", &realm)
    })
    .unwrap();
    let error = push(&server.host(), &[]).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("cannot reach registry 127.0.0.1"), "{error}");
    assert_eq!(tokens.asked().len(), 4, "as often as is asked");
    assert!(server.asked().len() <= 4);
}

#[tokio::test]
async fn an_upload_that_is_cut_off_in_the_middle_is_sent_again_from_the_beginning() {
    const SIZE: usize = 8 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let received = Arc::<Mutex<Vec<usize>>>::default();
    let seen = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut line) = (String::new(), String::new());
            reader.read_line(&mut first).unwrap();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let answer = match first.split(' ').next() {
                Some("HEAD") => "404 No",
                Some("POST") => "202 Go\r\nLocation: /v2/x/blobs/uploads/1",
                _ => {
                    let is_first = seen.lock().unwrap().is_empty();
                    let most = if is_first { SIZE / 4 } else { SIZE };
                    let taken = std::io::copy(&mut reader.take(most as u64), &mut std::io::sink());
                    seen.lock().unwrap().push(taken.unwrap() as usize);
                    if is_first {
                        continue;
                    }
                    "201 Created"
                }
            };
            let rest = "Connection: close\r\nContent-Length: 0";
            write!(&stream, "HTTP/1.1 {answer}\r\n{rest}\r\n\r\n").unwrap();
        }
    });
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256("zeros"), SIZE as u64);
    let source = Arc::new(Zeros(SIZE / (256 << 10)));
    let pushed = client().push_blob(&reference(&host), &blob, source, &[], &NoCredentials).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(*received.lock().unwrap(), [SIZE / 4, SIZE]);
}
