//! What goes wrong while something is exported: an error or another attempt, never a bad image.

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_oci::Digest;
use kiln_registry::testing::{ScriptedAnswer, ScriptedServer};
use kiln_store::{Compression, PruneOptions, Requester};

use super::*;

/// A registry that takes everything; `during` is called with each blob that comes.
fn taking(during: impl Fn(&[u8]) -> ScriptedAnswer + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::start(move |request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/upload"),
        "PUT" if request.target.starts_with("/v2/upload") => during(&request.body),
        _ => ScriptedAnswer::new(201, ""),
    })
    .unwrap()
}

/// The digests of the blobs that a registry was sent, each of which is what it is called.
fn sent(server: &ScriptedServer) -> Vec<Digest> {
    let puts = server.requests().into_iter().filter(|request| request.method == "PUT");
    let puts = puts.filter(|request| request.target.starts_with("/v2/upload"));
    puts.map(|request| {
        let digest = Digest::sha256(&request.body);
        assert!(request.target.replace("%3A", ":").ends_with(digest.as_str()), "{digest}");
        digest
    })
    .collect()
}

/// The path of the blob of the top layer.
async fn blob_of(fixture: &Fixture, files: &Ref) -> PathBuf {
    let store = &fixture.context.store;
    let nobody = Requester::nobody();
    let mut layers =
        store.layer_blobs(files, Compression::default(), &nobody, &|_| {}).await.unwrap();
    store.blob(&layers.pop().unwrap().descriptor.digest).unwrap().path().to_owned()
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_layer_that_was_damaged_on_disk_is_named_and_made_anew_the_next_time() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let result = BuildResult::single(Some(files.clone()));
    fixture.export(&result, "oci", &[]).await.unwrap();
    let whole = fixture.stream();
    let path = blob_of(&fixture, &files).await;
    for kind in ["oci", "docker"] {
        for damage in [spoil as fn(&Path), |path| fs::write(path, "short").unwrap()] {
            damage(&path);
            let error = fixture.export(&result, kind, &[]).await.unwrap_err();
            let text = error_chain(&error);
            assert!(text.contains("was damaged on disk"), "{text}");
            assert!(fixture.client.streams.lock().unwrap().is_empty(), "half an archive is none");
            fixture.export(&result, kind, &[]).await.unwrap();
            let again = fixture.stream();
            assert!(kind == "docker" || again == whole);
        }
    }
}

#[tokio::test]
async fn a_layer_that_a_registry_refuses_because_it_was_damaged_is_named_and_made_anew() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let result = BuildResult::single(Some(files.clone()));
    let path = blob_of(&fixture, &files).await;
    let digest = path.file_name().unwrap().to_str().unwrap().to_owned();
    let expected = digest.clone();
    let server = ScriptedServer::start(move |request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/upload"),
        "PUT"
            if request.target.contains(&expected)
                && Digest::sha256(&request.body).hex() != expected =>
        {
            ScriptedAnswer::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#)
        }
        _ => ScriptedAnswer::new(201, ""),
    })
    .unwrap();
    let name = format!("{}/app:1", server.host());
    let attributes = [("name", name.as_str()), ("push", "true")];
    spoil(&path);
    let text = error_chain(&fixture.export(&result, "image", &attributes).await.unwrap_err());
    assert!(text.contains(&digest) && text.contains("was damaged on disk"), "{text}");
    let manifests = |line: &String| line.contains("/manifests/");
    assert!(!server.asked().iter().any(manifests), "nothing names it");
    fixture.export(&result, "image", &attributes).await.unwrap();
    assert!(server.asked().iter().any(manifests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_exported_outlives_a_prune() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let (store, handle) = (fixture.context.store.clone(), tokio::runtime::Handle::current());
    let server = taking(move |_| {
        let all = PruneOptions { all: true, ..PruneOptions::default() };
        handle.block_on(store.prune(all, &mut |_| {})).unwrap();
        ScriptedAnswer::new(201, "")
    });
    let name = format!("{}/app:1", server.host());
    let attributes = [("name", name.as_str()), ("push", "true"), ("store", "false")];
    let result = BuildResult::single(Some(files));
    fixture.export(&result, "image", &attributes).await.unwrap();
    assert_eq!(sent(&server).len(), 3, "two layers and a config");
    assert!(server.asked().last().unwrap().contains("PUT /v2/app/manifests/1"));
}

#[tokio::test]
async fn no_manifest_names_what_a_registry_did_not_take() {
    if !is_root() {
        return;
    }
    for fault in [
        ScriptedAnswer::new(403, r#"{"errors":[{"message":"the quota is used up"}]}"#),
        ScriptedAnswer::new(413, "too large"),
        ScriptedAnswer::new(429, "").with("Retry-After", "3600"),
    ] {
        let refused = AtomicBool::new(false);
        let again = fault.clone();
        let server = taking(move |_| match refused.swap(true, Ordering::SeqCst) {
            false => again.clone(),
            true => ScriptedAnswer::new(201, ""),
        });
        let fixture = Fixture::new();
        let name = format!("{}/app:1", server.host());
        let attributes = [("name", name.as_str()), ("push", "true")];
        let result = BuildResult::single(Some(fixture.two_layers().await));
        let error = fixture.export(&result, "image", &attributes).await.unwrap_err();
        let text = error_chain(&error);
        assert!(text.contains(&format!("failed to push {name}")), "{fault:?}: {text}");
        assert!(!server.asked().iter().any(|line| line.contains("/manifests/")), "{fault:?}");
        // Nothing has to be made again for the next attempt.
        fixture.export(&result, "image", &attributes).await.unwrap();
        assert!(server.asked().iter().any(|line| line.contains("/manifests/")), "{fault:?}");
    }
}

/// An error with all that is beneath it.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
