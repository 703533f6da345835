//! Caches in clouds: what one machine built, another finds, and nobody else gets to see the logins.

use std::fs;

use kiln_tests::{Azurite, Kiln, Kilnd, Outcome, S3, WorkflowCache};
use serde_json::Value;

use super::cache_scene::{CacheScene, worked};

/// Draws numbers, so that what is built again is different; one layer is larger than a piece of an
/// upload.
const DOCKERFILE: &str = "FROM BASE AS build
COPY input /input
RUN head -c 9 /dev/urandom | sha256sum > /first
RUN head -c 9000000 /dev/urandom > /second
FROM scratch
COPY --from=build /first /second /
";

/// Machines that share nothing but a cache: the second finds what the first built, all of it with
/// `max` and the result with `min`.
fn shared(scene: &CacheScene, cache: &str, secrets: &[&str]) {
    for (mode, expected) in [("min", 3), ("max", 0)] {
        let name = if cache.contains("gha") { "scope" } else { "name" };
        let cache = format!("{cache},{name}=a-{mode}");
        let to = format!("--export-cache={cache},mode={mode}");
        let from = format!("--import-cache={cache}");
        let (outcome, first) = scene.build(&Kiln::new(), &[&to]);
        assert_eq!(worked(&outcome), 4, "{outcome}");
        tells_nobody(&outcome, secrets);
        let (outcome, again) = scene.build(&Kiln::new(), &[&from]);
        assert_eq!((worked(&outcome), &again), (0, &first), "{mode}: {outcome}");
        tells_nobody(&outcome, secrets);
        let (outcome, _) = scene.build(&Kiln::new(), &[&from, "--opt=target=build"]);
        assert_eq!(worked(&outcome), expected, "{mode}: {outcome}");
    }
}

fn tells_nobody(outcome: &Outcome, secrets: &[&str]) {
    for secret in secrets {
        assert!(!outcome.stderr.contains(secret), "{secret}: {outcome}");
        assert!(!outcome.text().contains(secret), "{secret}: {outcome}");
    }
}

#[test]
fn a_cache_in_s3_is_found_by_another_machine() {
    let (Some(scene), Some(s3)) = (CacheScene::begin(DOCKERFILE), S3::start()) else { return };
    let secret = "the-secret-key-for-s3";
    let cache = format!(
        "type=s3,bucket={},region=us-east-1,endpoint_url={},use_path_style=true,\
         access_key_id=testing-id,secret_access_key={secret},prefix=p/",
        S3::BUCKET,
        s3.url()
    );
    shared(&scene, &cache, &[secret]);
    let keys = s3.keys();
    assert!(keys.contains(&"p/manifests/a-max".to_owned()), "{keys:?}");
    assert!(keys.iter().any(|key| key.starts_with("p/blobs/sha256:")), "{keys:?}");
}

#[test]
fn a_cache_in_azures_blob_storage_is_found_by_another_machine() {
    let (Some(scene), Some(azurite)) = (CacheScene::begin(DOCKERFILE), Azurite::start()) else {
        return;
    };
    let cache = format!(
        "type=azblob,account_url={},account_name={},secret_access_key={},container=made-by-kiln",
        azurite.url(),
        Azurite::ACCOUNT,
        Azurite::KEY
    );
    shared(&scene, &cache, &[Azurite::KEY]);
}

#[test]
fn a_cache_in_githubs_service_is_found_by_another_machine() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let service = WorkflowCache::start();
    let cache = format!("type=gha,url_v2={},token={}", service.url(), service.token());
    shared(&scene, &cache, &[service.secret()]);
    let keys = service.keys();
    assert!(keys.iter().any(|key| key.starts_with("buildkit-blob-1-sha256:")), "{keys:?}");
    assert!(keys.iter().any(|key| key.starts_with("index-a-max-1-") && key.ends_with("#1")));
    assert_eq!(service.strangers(), 0);
    let index = service.content("index-a-max-1-").unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let layer = &index["layers"][0]["annotations"];
    assert!(layer["diffID"].is_string() && layer["size"].is_number(), "{index}");
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(layer["createdAt"].as_str().unwrap().ends_with('Z'), "{index}");
}

#[test]
fn a_cloud_that_is_broken_or_lies_is_a_warning_and_a_miss() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let service = WorkflowCache::start();
    let cache = format!("type=gha,url_v2={},timeout=0,token=", service.url());
    let own = format!("{cache}{}", service.token());
    let (to, from) = (format!("--export-cache={own},mode=max"), format!("--import-cache={own}"));
    // There is none yet.
    let (outcome, _) = scene.build(&Kiln::new(), &[&from]);
    outcome.says(&["is not imported: there is no such cache yet"]);
    scene.build(&Kiln::new(), &[&to]);
    for status in [401, 403, 404, 429, 500] {
        service.refuse(Some(status));
        let (outcome, _) = scene.build(&Kiln::new(), &[&from]);
        assert_eq!(worked(&outcome), 4, "{status}: {outcome}");
        tells_nobody(&outcome, &[service.secret()]);
        let outcome = outcome.says(&["is not imported"]);
        if status != 404 {
            outcome.says(&[&format!("answered {status}")]);
        }
        // One that is refused, and one that is broken.
        if !matches!(status, 403 | 500) {
            continue;
        }
        let outcome = scene.try_build(&Kiln::new(), &[&to]).fails();
        tells_nobody(&outcome, &[service.secret()]);
        outcome.says(&["failed to export cache to", &format!("answered {status}")]);
    }
    let outcome = scene.try_build(&Kiln::new(), &[&format!("{to},ignore-error=true")]);
    outcome.succeeds().says(&["is not exported"]);
    service.refuse(None);
    let token = service.token().replace('d', "e");
    let stranger = format!("--import-cache={cache}{token}");
    let (outcome, _) = scene.build(&Kiln::new(), &[&stranger]);
    assert_eq!(worked(&outcome), 4, "{outcome}");
    outcome.says(&["is not imported"]);
    // Every layer is another than its name says, or ends too early.
    let changes: [fn(&mut Vec<u8>); 2] = [
        |content| {
            let middle = content.len() / 2;
            content[middle] ^= 0xff;
        },
        |content| content.truncate(content.len() / 2),
    ];
    for change in changes {
        service.change("buildkit-blob-1-", change);
        let (outcome, _) = scene.build(&Kiln::new(), &[&from]);
        assert!(worked(&outcome) >= 3, "{outcome}");
        outcome.says(&["cannot be used"]);
    }
}

#[test]
fn logins_of_clouds_are_in_no_log_history_or_provenance() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let service = WorkflowCache::start();
    let daemon = Kilnd::with(&["--debug"]);
    let kiln = daemon.client();
    let cache = format!("type=gha,url_v2={},token={}", service.url(), service.token());
    let flags = [
        format!("--export-cache={cache},mode=max"),
        format!("--import-cache={cache}"),
        "--opt=attest:provenance=mode=max".to_owned(),
        format!("--metadata-file={}", kiln.path("metadata.json").display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (outcome, _) = scene.build(&kiln, &flags);
    let listed = kiln.run(&["history", "ls", "--format=json"]).succeeds();
    let builds: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let build = builds[0]["ref"].as_str().unwrap();
    let imports = builds[0]["attrs"]["cache-imports"].as_str().unwrap_or_default();
    assert!(imports.contains("xxxxx"), "{listed}");
    let outcomes = [
        outcome,
        kiln.run(&["history", "inspect", build]).succeeds(),
        kiln.run(&["history", "logs", build]).succeeds(),
        listed,
    ];
    for outcome in &outcomes {
        tells_nobody(outcome, &[service.secret(), "sig="]);
    }
    let metadata = fs::read_to_string(kiln.path("metadata.json")).unwrap();
    let log = daemon.log();
    for secret in [service.secret(), "sig=c2ln"] {
        assert!(!metadata.contains(secret), "{metadata}");
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!service.keys().is_empty());
    let root = daemon.root();
    daemon.stop();
    let found = holding(&root, service.secret().as_bytes());
    assert!(found.is_empty(), "{found:?}");
}

/// The files below a directory that have this in them.
fn holding(directory: &std::path::Path, secret: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(holding(&path, secret)),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                if bytes.windows(secret.len()).any(|window| window == secret) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
    found
}
