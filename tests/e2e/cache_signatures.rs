//! Signed caches: what one machine signs, another verifies before it believes any of it.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::{Kiln, Kilnd, Outcome, Project, S3, has_program, run, sha256, skip};
use serde_json::{Value, json};

use super::cache_scene::{CacheScene, worked};

/// Draws numbers, so that what is built again is different.
const DOCKERFILE: &str = "FROM BASE AS build
COPY input /input
RUN head -c 9 /dev/urandom | sha256sum > /first
RUN head -c 9 /dev/urandom | sha256sum > /second
FROM scratch
COPY --from=build /first /second /
";

/// All steps that can be found in a cache.
const STEPS: usize = 4;

/// Where a file of the signatures' fixtures is.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/signatures/fixtures").join(name)
}

/// The private key that signs here, as the attribute of an export.
fn sign_key() -> String {
    format!("sign-key={}", fixture("signs").display())
}

/// The public keys of a file of the fixtures, as the attribute of an import.
fn verify_key(name: &str) -> String {
    format!("verify-key={}", fixture(name).display())
}

/// Builds, well; how many steps ran, and what was drawn.
fn built(scene: &CacheScene, kiln: &Kiln, flags: &[&str]) -> (Outcome, usize, String) {
    let (outcome, first) = scene.build(kiln, flags);
    let worked = worked(&outcome);
    (outcome, worked, first)
}

/// A cache that is signed is found with its key, and is as if it were not there with another one; one
/// that is not signed is found by who asks for no signature only. `to` and `from` are attributes, with
/// a place for the name of the cache.
fn shared(scene: &CacheScene, to: &str, from: &str) {
    let flag = |flag: &str, attributes: &str, name: &str, key: &str| {
        let attributes = attributes.replace("NAME", name);
        format!("--{flag}-cache={attributes}{key}")
    };
    let sign = format!(",{}", sign_key());
    let (outcome, ran, first) = built(scene, &Kiln::new(), &[&flag("export", to, "signed", &sign)]);
    assert_eq!(ran, STEPS, "{outcome}");
    outcome.says(&["signing as SHA256:"]);
    let (right, wrong) = (verify_key("signs.pub"), verify_key("ssh-rsa.pub"));
    for key in [String::new(), format!(",{right}"), format!(",{wrong},{right}")] {
        let from = flag("import", from, "signed", &key);
        let (outcome, ran, again) = built(scene, &Kiln::new(), &[&from]);
        assert_eq!((ran, &again), (0, &first), "{from}: {outcome}");
    }
    let from_other = flag("import", from, "signed", &format!(",{wrong}"));
    let (outcome, ran, _) = built(scene, &Kiln::new(), &[&from_other]);
    assert_eq!(ran, STEPS, "{outcome}");
    outcome.says(&[
        "is not imported: verify-key wants a signature by SHA256:",
        "none of the given keys is that key",
    ]);

    let (_, _, first) = built(scene, &Kiln::new(), &[&flag("export", to, "plain", "")]);
    let (outcome, ran, again) = built(scene, &Kiln::new(), &[&flag("import", from, "plain", "")]);
    assert_eq!((ran, &again), (0, &first), "{outcome}");
    let wanted = flag("import", from, "plain", &format!(",{right}"));
    let (outcome, ran, _) = built(scene, &Kiln::new(), &[&wanted]);
    assert_eq!(ran, STEPS, "{outcome}");
    outcome.says(&["is not imported: it is not signed, and verify-key wants"]);
}

#[test]
fn a_signed_cache_in_a_registry_is_found_by_who_knows_the_key() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let reference = scene.registry.reference("NAME:1");
    for more in ["", ",image-manifest=false,compression=estargz"] {
        shared(
            &scene,
            &format!("type=registry,ref={reference},mode=max{more}"),
            &format!("type=registry,ref={reference}"),
        );
    }
}

#[test]
fn a_signed_cache_in_a_directory_is_found_by_who_knows_the_key() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("NAME");
    let (to, from) = (
        format!("type=local,dest={},mode=max", path.display()),
        format!("type=local,src={}", path.display()),
    );
    shared(&scene, &to, &from);
}

#[test]
fn a_signed_cache_in_s3_is_found_by_who_knows_the_key() {
    let (Some(scene), Some(s3)) = (CacheScene::begin(DOCKERFILE), S3::start()) else { return };
    let cache = format!(
        "type=s3,bucket={},region=us-east-1,endpoint_url={},use_path_style=true,\
         access_key_id=testing-id,secret_access_key=the-secret-key,name=NAME",
        S3::BUCKET,
        s3.url()
    );
    shared(&scene, &format!("{cache},mode=max"), &cache);
}

#[test]
fn a_signed_cache_that_rides_in_an_image_is_found_by_who_knows_the_key() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let name = scene.registry.reference("app:1");
    let push = format!("--output=type=image,name={name},push=true");
    let to = format!("--export-cache=type=inline,{}", sign_key());
    let (_, ran, first) = built(&scene, &Kiln::new(), &[&push, &to]);
    assert_eq!(ran, STEPS);
    let from = format!("--import-cache=type=registry,ref={name}");
    for key in [String::new(), format!(",{}", verify_key("signs.pub"))] {
        let (outcome, ran, again) = built(&scene, &Kiln::new(), &[&format!("{from}{key}")]);
        assert_eq!((ran, &again), (0, &first), "{key}: {outcome}");
    }
    let other = format!("{from},{}", verify_key("ssh-rsa.pub"));
    let (outcome, ran, _) = built(&scene, &Kiln::new(), &[&other]);
    assert_eq!(ran, STEPS, "{outcome}");
    // Who builds on the image and exports no cache does not pass its signature on.
    let app = Project::new(&[("Dockerfile", &format!("FROM {name}\nLABEL a=b\n"))]);
    let kiln = Kiln::new();
    let (image, _) = kiln.build().frontend("dockerfile.v0").of(&app).image();
    let config = format!("{:?}", image.config);
    assert!(!config.contains("kiln.cache.signatures"), "{config}");
}

/// Changes the config of a cache in a directory, so that all digests fit again.
fn alter(layout: &Path, change: impl Fn(&mut Value)) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob =
        |digest: &Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let write = |value: &Value| {
        let text = value.to_string();
        let digest = json!(format!("sha256:{}", sha256(text.as_bytes())));
        fs::write(blob(&digest), &text).unwrap();
        (digest, json!(text.len()))
    };
    let mut index = read(&layout.join("index.json"));
    let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
    let mut config = read(&blob(&manifest["config"]["digest"]));
    change(&mut config);
    (manifest["config"]["digest"], manifest["config"]["size"]) = write(&config);
    let root = &mut index["manifests"][0];
    (root["digest"], root["size"]) = write(&manifest);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn a_signed_cache_that_was_altered_is_a_warning_and_a_miss() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let to = format!("--export-cache=type=local,dest={place},mode=max,{}", sign_key());
    let (_, _, first) = built(&scene, &Kiln::new(), &[&to]);
    let plain = format!("--import-cache=type=local,src={place}");
    let verified = format!("{plain},{}", verify_key("signs.pub"));
    // The order of keys and blanks do not count: what they say is signed.
    alter(directory.path(), |_| {});
    let (outcome, ran, again) = built(&scene, &Kiln::new(), &[&verified]);
    assert_eq!((ran, &again), (0, &first), "{outcome}");
    // A result that belongs to another record: poison for who believes it.
    alter(directory.path(), |config| {
        let records = config["records"].as_array_mut().unwrap();
        let result = records.iter().find_map(|record| record.get("layers").cloned()).unwrap();
        for record in records.iter_mut().filter(|record| record.get("layers").is_some()) {
            record["layers"] = result.clone();
        }
    });
    let (outcome, ran, _) = built(&scene, &Kiln::new(), &[&verified]);
    assert_eq!(ran, STEPS, "{outcome}");
    outcome.says(&["is not imported: it is not what SHA256:", "verify-key wants a signature by"]);
    let outcome = scene.try_build(&Kiln::new(), &[&plain]);
    assert!(worked(&outcome) < STEPS, "the change is one that matters: {outcome}");
}

#[test]
fn a_daemon_says_whose_caches_are_read() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let host = scene.registry.host();
    let config = format!(
        "[[kiln.cacheSigners]]\ncaches = [\"{host}/scratch:*\"]\nunsigned = true\n\
         [[kiln.cacheSigners]]\nkeyFiles = [{:?}, {:?}]\n",
        fixture("ssh-rsa.pub"),
        fixture("signs.pub"),
    );
    let daemon = || Kilnd::configured("kilnd", &[], &config);
    let cache = |name: &str| format!("type=registry,ref={host}/{name}:1");
    let export = |name: &str, key: &str| {
        let to = format!("--export-cache={},mode=max{key}", cache(name));
        built(&scene, &Kiln::new(), &[&to]).2
    };
    let sign = format!(",{}", sign_key());
    let firsts = [export("signed", &sign), export("plain", ""), export("scratch", "")];
    for (name, first, is_read) in
        [("signed", &firsts[0], true), ("plain", &firsts[1], false), ("scratch", &firsts[2], true)]
    {
        let daemon = daemon();
        let from = format!("--import-cache={}", cache(name));
        let (outcome, ran, again) = built(&scene, &daemon.client(), &[&from]);
        assert_eq!(
            (ran, again == *first),
            if is_read { (0, true) } else { (STEPS, false) },
            "{outcome}"
        );
        if !is_read {
            let words = "it is not signed, and kiln.cacheSigners of the daemon wants a signature by \
                         SHA256:";
            outcome.says(&[&format!("cache {host}/plain:1 (registry) is not imported: {words}")]);
        }
    }
    let broken = Kilnd::configured(
        "kilnd",
        &[],
        &format!("[[kiln.cacheSigners]]\nkeyFiles = [{:?}]\n", fixture("content")),
    );
    broken.wait(std::time::Duration::from_secs(20)).fails().says(&[
        "kiln.cacheSigners",
        "fixtures/content: failed to parse ssh public key: no key found",
    ]);
}

#[test]
fn a_key_is_shown_to_nobody_and_one_that_is_none_is_named() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let daemon = Kilnd::with(&["--debug"]);
    let client = daemon.client();
    let cache = scene.registry.reference("cache:1");
    let to = format!("--export-cache=type=registry,ref={cache},{}", sign_key());
    let attest = "--opt=attest:provenance=mode=max";
    let (outcome, ..) = built(&scene, &client, &[&to, attest]);
    let key = fs::read_to_string(fixture("signs")).unwrap();
    let parts: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let history = client.run(&["history", "ls", "--format=json"]).succeeds();
    let inspected = client.run(&["history", "inspect"]).succeeds();
    for text in [&outcome.stderr, &daemon.log(), &history.text(), &inspected.text()] {
        assert!(!text.is_empty() && parts.iter().all(|part| !text.contains(part)), "{text}");
    }

    for (key, words) in [
        ("signs-phrase", "it has a passphrase, for which nobody can be asked; make one with"),
        ("signs-rsa", "it is of another type than Ed25519; make one with `ssh-keygen -t ed25519"),
        ("signs.pub", "it is a public key"),
        ("nowhere", "/nowhere: No such file"),
    ] {
        let to =
            format!("--export-cache=type=registry,ref={cache},sign-key={}", fixture(key).display());
        scene.try_build(&client, &[&to]).fails().says(&["sign-key", words]);
    }
    let from = format!("--import-cache=type=registry,ref={cache}");
    let private = format!("{from},{}", verify_key("signs"));
    scene.try_build(&client, &[&private]).fails().says(&["it is a private key"]);
    let none = format!("{from},{}", verify_key("content"));
    let (outcome, ran, _) = built(&scene, &Kiln::new(), &[&none]);
    assert_eq!(ran, STEPS, "{outcome}");
    outcome.says(&["is not imported"]);
}

#[test]
fn keys_of_ssh_keygen_do() {
    if !has_program("ssh-keygen") {
        return skip("ssh-keygen");
    }
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let mut make = std::process::Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    run(make, b"", std::time::Duration::from_secs(20)).succeeds();
    let place = directory.path().join("cache");
    let to = format!("type=local,dest={},sign-key={}", place.display(), key.display());
    let (_, _, first) = built(&scene, &Kiln::new(), &[&format!("--export-cache={to}")]);
    let from = format!("type=local,src={},verify-key={}.pub", place.display(), key.display());
    let (outcome, ran, again) = built(&scene, &Kiln::new(), &[&format!("--import-cache={from}")]);
    assert_eq!((ran, again), (0, first), "{outcome}");
}
