//! Files by URL.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use flate2::write::GzEncoder;
use kiln_oci::Digest;
use kiln_registry::testing::{ScriptedAnswer, ScriptedServer};

use super::{Client, Room, chain, identifier, tree};
use crate::Metadata;

const DATE: &str = "Fri, 01 Mar 2024 10:00:00 GMT";

/// A server with one file that has an entity tag.
fn tagged_server() -> ScriptedServer {
    ScriptedServer::start(|request| {
        let answer = match request.header("if-none-match") {
            "\"one\"" => ScriptedAnswer::new(304, ""),
            _ => ScriptedAnswer::new(200, "content"),
        };
        answer.with("ETag", "W/\"one\"").with("Last-Modified", DATE)
    })
    .unwrap()
}

#[tokio::test]
async fn a_file_has_the_servers_time_and_nobody_elses_permissions() {
    let server = tagged_server();
    let mut room = Room::new();
    let source = identifier(&format!("http://{}/dir/file.txt?q=1", server.host()), &[]);
    let pin = room.pin(&source).await.unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_287_200);
    let metadata = Metadata::Http {
        digest: Digest::sha256("content"),
        filename: "file.txt".into(),
        last_modified: Some(time),
    };
    assert_eq!(pin.metadata, metadata);
    let content = room.fetch(&source, &pin).await.unwrap();
    assert_eq!(tree(&content).await["file.txt"], "600 content");
    let mounted = content.ready().unwrap().mount().await.unwrap();
    let file = std::fs::metadata(mounted.path().join("file.txt")).unwrap();
    assert_eq!(file.modified().unwrap(), time);
    assert_eq!(server.asked(), ["GET /dir/file.txt?q=1"], "pinning fetched it already");
    assert!(room.parts()[0].starts_with("downloading http://127.0.0.1"));
}

#[tokio::test]
async fn without_a_time_the_time_is_1970_and_attributes_are_the_users() {
    let server = ScriptedServer::start(|_| ScriptedAnswer::new(200, "x")).unwrap();
    let room = Room::new();
    let attrs =
        [("http.perm", "0755"), ("http.uid", "5"), ("http.gid", "6"), ("http.filename", "tool")];
    let source = identifier(&format!("http://{}/", server.host()), &attrs);
    let content = room.get(&source).await.unwrap();
    assert_eq!(tree(&content).await["tool"], "755 x");
    let mounted = content.ready().unwrap().mount().await.unwrap();
    let file = std::fs::metadata(mounted.path().join("tool")).unwrap();
    assert_eq!(file.mtime(), 0);
    if !kiln_store::owner::single_id() {
        assert_eq!((file.uid(), file.gid()), (5, 6));
    }
}

#[tokio::test]
async fn an_unchanged_file_costs_one_request_even_after_a_restart() {
    let server = tagged_server();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let room = Room::new();
    let key = room.pin(&source).await.unwrap().key;
    let room = room.restarted(Client::default());
    let second = room.pin(&source).await.unwrap();
    assert_eq!(key, second.key);
    assert_eq!(server.asked(), ["GET /f", "HEAD /f"]);
    let content = room.fetch(&source, &second).await.unwrap();
    assert_eq!(tree(&content).await["f"], "600 content");
    assert_eq!(server.asked().len(), 2, "nothing was downloaded again");
}

#[tokio::test]
async fn a_changed_file_is_downloaded_again() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |request| {
        // The first GET gives one content, everything after it another.
        let round = count.fetch_add(1, Ordering::SeqCst).min(1);
        assert_ne!(request.method, "POST");
        ScriptedAnswer::new(200, format!("content {round}")).with("ETag", &format!("\"{round}\""))
    })
    .unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let room = Room::new();
    let first = room.pin(&source).await.unwrap();
    let second = room.pin(&source).await.unwrap();
    assert_ne!(first.key, second.key);
    let content = room.fetch(&source, &second).await.unwrap();
    assert_eq!(tree(&content).await["f"], "600 content 1");
}

#[tokio::test]
async fn a_known_checksum_is_pinned_without_asking_and_checked_when_fetched() {
    let server = tagged_server();
    let url = format!("http://{}/f", server.host());
    let room = Room::new();
    let right = Digest::sha256("content");
    let source = identifier(&url, &[("http.checksum", right.as_str())]);
    let pin = room.pin(&source).await.unwrap();
    assert!(server.asked().is_empty());
    room.fetch(&source, &pin).await.unwrap();

    let wrong = Digest::sha256("other");
    let source = identifier(&url, &[("http.checksum", wrong.as_str())]);
    let error = room.get(&source).await.unwrap_err();
    let want = format!("digest mismatch {right}: {wrong} was expected of {url}");
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_file_that_is_not_signed_as_wanted_is_not_used() {
    let read = |name: &str| std::fs::read_to_string(super::signature(name)).unwrap();
    let content = read("content");
    let digest = Digest::sha256(&content);
    let server = ScriptedServer::start(move |_| ScriptedAnswer::new(200, content.clone())).unwrap();
    let url = format!("http://{}/f", server.host());
    let (signature, own, other) = (read("rsa.asc"), read("rsa.pub"), read("ed25519.pub"));
    let all = format!("{other}\n{own}");
    let room = Room::new();
    for checksum in ["", digest.as_str()] {
        let get = async |keys: &str| {
            let signed = [("http.sig.pubkey", keys), ("http.sig.signature", &signature)];
            let attrs = [&signed[..], &[("http.checksum", checksum)]].concat();
            room.get(&identifier(&url, &attrs)).await.map_err(|error| chain(&error))
        };
        for keys in [&own, &all] {
            let content = get(keys).await.unwrap();
            assert_eq!(tree(&content).await["f"], "600 what is signed\n");
        }
        // What is here already is looked at all the same.
        let error = get(&other).await.unwrap_err();
        let words = format!("failed to verify pgp signature of {url}: signature by ");
        assert!(error.starts_with(&words), "{error}");
    }
}

#[tokio::test]
async fn other_algorithms_can_be_wanted() {
    let server = tagged_server();
    let url = format!("http://{}/f", server.host());
    let sha512 = "sha512:b2d1d285b5199c85f988d03649c37e44fd3dde01e5d69c50fef90651962f48110e9340b60d49a479c4c0b53f5f07d690686dd87d2481937a512e8b85ee7c617f";
    let room = Room::new();
    room.get(&identifier(&url, &[("http.checksum", sha512)])).await.unwrap();
    let wrong = sha512.replace("b2d1", "b2d2");
    let error = room.get(&identifier(&url, &[("http.checksum", &wrong)])).await.unwrap_err();
    assert!(error.to_string().contains(sha512), "{error}");
}

#[tokio::test]
async fn a_status_that_is_no_success_is_told() {
    let server = ScriptedServer::start(|_| ScriptedAnswer::new(404, "")).unwrap();
    let source = identifier(&format!("http://me:pw@{}/f", server.host()), &[]);
    let error = Room::new().get(&source).await.unwrap_err().to_string();
    assert!(error.contains("invalid response status 404"), "{error}");
    assert!(!error.contains("pw"), "{error}");
}

#[tokio::test]
async fn a_broken_download_is_an_error_and_not_a_short_file() {
    let server = ScriptedServer::start(|_| ScriptedAnswer::new(200, "half").announce(100)).unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let error = Room::new().get(&source).await.unwrap_err();
    assert!(error.to_string().contains("failed to fetch http://127.0.0.1"), "{}", chain(&error));
}

#[tokio::test]
async fn secrets_of_the_host_are_sent_to_the_host_only() {
    let other = ScriptedServer::start(|_| ScriptedAnswer::new(200, "x")).unwrap();
    let target = format!("http://{}/there", other.host());
    let server =
        ScriptedServer::start(move |_| ScriptedAnswer::new(302, "").with("Location", &target))
            .unwrap();
    let secrets = [("HTTP_AUTH_TOKEN_127.0.0.1", "t0ken"), ("named", "Basic abc")];
    let room = Room::with(Client::with_secrets(&secrets));
    let url = format!("http://{}/f", server.host());
    room.get(&identifier(&url, &[])).await.unwrap();
    room.get(&identifier(&url, &[("http.authheadersecret", "named")])).await.unwrap();
    let sent: Vec<_> =
        server.requests().iter().map(|r| r.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer t0ken", "Basic abc"]);
    assert!(other.requests().iter().all(|request| request.header("authorization").is_empty()));
    assert_eq!(other.requests().len(), 2);
}

#[tokio::test]
async fn a_named_secret_has_to_exist() {
    let server = tagged_server();
    let attrs = [("http.authheadersecret", "nowhere")];
    let source = identifier(&format!("http://{}/f", server.host()), &attrs);
    let error = Room::new().get(&source).await.unwrap_err().to_string();
    assert!(error.contains("failed to retrieve HTTP auth secret nowhere"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn the_key_is_buildkits() {
    let digest = Digest::sha256("content");
    let attrs = [("http.checksum", digest.as_str()), ("http.perm", "0644")];
    let source = identifier("https://example.com/a&b", &attrs);
    let pin = Room::new().pin(&source).await.unwrap();
    let json =
        format!(r#"{{"Filename":"a\u0026b","Perm":420,"UID":0,"GID":0,"Checksum":"{digest}"}}"#);
    assert_eq!(pin.key.as_str(), Digest::sha256(json).to_string());
}

#[tokio::test]
async fn content_that_was_compressed_on_the_way_is_the_content() {
    let server = ScriptedServer::start(|request| {
        assert_eq!(request.header("accept-encoding"), "gzip", "{}", request.method);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, b"content").unwrap();
        let answer = ScriptedAnswer::new(200, encoder.finish().unwrap());
        answer.with("Content-Encoding", "gzip").with("ETag", "\"z\"")
    })
    .unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let room = Room::new();
    let pin = room.pin(&source).await.unwrap();
    let Metadata::Http { digest, .. } = &pin.metadata else { panic!("{pin:?}") };
    assert_eq!(*digest, Digest::sha256("content"));
    assert_eq!(tree(&room.fetch(&source, &pin).await.unwrap()).await["f"], "600 content");
    room.pin(&source).await.unwrap();
    assert_eq!(server.asked(), ["GET /f", "HEAD /f"]);
}

#[tokio::test]
async fn an_answer_about_an_entity_tag_that_was_not_offered_is_not_believed() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |request| match request.header("if-none-match") {
        "" => match count.fetch_add(1, Ordering::SeqCst) {
            0 => ScriptedAnswer::new(200, "old").with("ETag", "\"one\""),
            _ => ScriptedAnswer::new(200, "new").with("ETag", "\"two\""),
        },
        _ => ScriptedAnswer::new(304, "").with("ETag", "\"two\""),
    })
    .unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let room = Room::new();
    assert_eq!(tree(&room.get(&source).await.unwrap()).await["f"], "600 old");
    assert_eq!(tree(&room.get(&source).await.unwrap()).await["f"], "600 new");
    assert_eq!(server.asked(), ["GET /f", "HEAD /f", "GET /f", "GET /f"]);
}

#[tokio::test]
async fn a_build_sees_one_state_of_a_file_whatever_happens_meanwhile() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |_| {
        let round = count.fetch_add(1, Ordering::SeqCst);
        ScriptedAnswer::new(200, format!("content {round}"))
    })
    .unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let room = Room::new();
    let build = room.sources.begin_build("session-1");
    let asked = room.pin(&source).await.unwrap();
    let key = asked.key.clone();
    drop(asked);
    let all = kiln_store::PruneOptions { all: true, ..kiln_store::PruneOptions::default() };
    room.store.prune(all, &mut |_| {}).await.unwrap();
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.key, key);
    assert_eq!(tree(&room.fetch(&source, &pin).await.unwrap()).await["f"], "600 content 0");
    let checksum = Digest::sha256("content 0").to_string();
    let checked =
        identifier(&format!("http://{}/f", server.host()), &[("http.checksum", &checksum)]);
    assert_eq!(tree(&room.get(&checked).await.unwrap()).await["f"], "600 content 0");
    assert_eq!(server.asked(), ["GET /f"]);
    drop(build);
    assert_ne!(room.pin(&source).await.unwrap().key, key, "the next build asks again");
}

#[tokio::test]
async fn what_the_client_uploads_is_had_once_for_a_build() {
    let room = Room::new();
    let upload = ("/id".to_owned(), "a tar".into());
    room.session.uploads.lock().unwrap().extend([upload]);
    let _build = room.sources.begin_build("session-1");
    let source = identifier("http://buildkit-session/id", &[]);
    for _ in 0..2 {
        assert_eq!(tree(&room.get(&source).await.unwrap()).await["id"], "600 a tar");
    }
    assert_eq!(room.session.asked(), ["buildkit-session/id"]);
    let missing = room.get(&identifier("http://buildkit-session/other", &[])).await.unwrap_err();
    let text = chain(&missing);
    assert!(text.contains("http://buildkit-session/other from the client"), "{text}");
    assert!(text.contains("nothing is uploaded at /other"), "{text}");
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said_and_what_to_do() {
    let server =
        ScriptedServer::start(|_| ScriptedAnswer::new(403, "quota\n exceeded for team x")).unwrap();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let text = Room::new().get(&source).await.unwrap_err().to_string();
    assert!(text.contains("invalid response status 403"), "{text}");
    assert!(text.contains("quota exceeded for team x"), "{text}");
    assert!(text.contains("HTTP_AUTH_TOKEN_127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_file_is_summed_with_bytes_behind_it() {
    let server = tagged_server();
    let room = Room::new();
    let source = identifier(&format!("http://{}/f", server.host()), &[]);
    let pin = room.pin(&source).await.unwrap();
    let sum = async |algorithm, suffix: &[u8]| {
        let sources = &room.sources;
        sources.file_sum(&source, &pin, algorithm, suffix, &room.context).await.unwrap().unwrap()
    };
    assert_eq!(sum("sha256", b"").await, Digest::sha256("content"));
    assert_eq!(sum("sha256", b" and more").await, Digest::sha256("content and more"));
    assert_eq!(
        sum("sha384", b"").await.to_string(),
        "sha384:5406ebea1618e9b73a7290c5d716f0b47b4f1fbc5d8c5e78c9010a3e01c18d8594aa942e3536f7e01574245d34647523"
    );
    assert_eq!(server.asked().len(), 1, "it is fetched once");
}
