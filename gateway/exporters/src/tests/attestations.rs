//! Attestations: beside images in an index, and as files beside files.

use async_trait::async_trait;
use kiln_frontend::{Attestation, Subject, SubjectKind};
use kiln_oci::{Digest, Index};
use serde_json::{Value, json};

use super::*;
use crate::{Claim, ClaimContent};

const KIND: &str = "https://example.com/claim/v1";

struct Said(&'static str);

#[async_trait]
impl ClaimContent for Said {
    async fn predicate(&self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Bytes::from_static(self.0.as_bytes()))
    }
}

fn provenance(inline_only: bool) -> Vec<Claim> {
    vec![Claim {
        path: "provenance.json".into(),
        predicate_type: "https://slsa.dev/provenance/v1".into(),
        inline_only,
        content: Arc::new(Said(r#"{"by":"me"}"#)),
    }]
}

fn claimed(files: &Ref, claim: &Ref, path: &str) -> BuildResult<Ref> {
    let mut result = by_platform(&[("linux/amd64", Some(files.clone()))]);
    let attestation = Attestation::in_toto(Some(claim.clone()), path, KIND);
    result.attestations.insert("linux/amd64".into(), vec![attestation]);
    result
}

fn document(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
    serde_json::from_slice(&files[&format!("blobs/{digest}")]).unwrap()
}

/// The index of the image in an archive.
fn image(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let layout: Index = serde_json::from_slice(&files["index.json"]).unwrap();
    document(files, &json!({ "digest": layout.manifests[0].digest }))
}

#[tokio::test]
async fn an_image_with_attestations_is_an_index_that_names_them() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.layer(None, &[("a", "1")]).await;
    let claim = fixture.layer(None, &[("claim.json", r#"{"ok":true}"#)]).await;
    for (artifact, attributes) in [
        (true, vec![("name", "example.org/app:1")]),
        (false, vec![("name", "example.org/app:1"), ("oci-artifact", "false")]),
    ] {
        let result = claimed(&files, &claim, "/claim.json");
        fixture.export(&result, "oci", &attributes).await.unwrap();
        let (_, blobs) = untar(&fixture.stream());
        let index = image(&blobs);
        let (image, attested) = (&index["manifests"][0], &index["manifests"][1]);
        assert_eq!(attested["platform"], json!({"architecture": "unknown", "os": "unknown"}));
        assert_eq!(
            attested["annotations"],
            json!({
                "vnd.docker.reference.digest": image["digest"],
                "vnd.docker.reference.type": "attestation-manifest",
            })
        );
        let manifest = document(&blobs, attested);
        assert_eq!(manifest["config"]["data"].is_string(), artifact);
        assert_eq!(manifest["subject"]["digest"] == image["digest"], artifact);
        assert_eq!(manifest["artifactType"].is_string(), artifact);
        let config = document(&blobs, &manifest["config"]);
        assert_eq!(config["rootfs"]["diff_ids"][0].is_string(), !artifact);
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        assert_eq!(layer["annotations"], json!({ "in-toto.io/predicate-type": KIND }));
        let statement = document(&blobs, layer);
        let digest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            statement,
            json!({
                "_type": "https://in-toto.io/Statement/v1",
                "predicateType": KIND,
                "subject": [{
                    "name": "pkg:docker/example.org/app@1?platform=linux%2Famd64",
                    "digest": { "sha256": digest.hex() },
                }],
                "predicate": { "ok": true },
            })
        );
    }
}

#[tokio::test]
async fn whole_statements_of_a_bundle_come_with_their_subjects() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.layer(None, &[("a", "1")]).await;
    let hex = Digest::sha256("x").hex().to_owned();
    let statement = json!({
        "predicateType": KIND,
        "subject": [{ "name": "x", "digest": { "sha256": hex } }],
        "predicate": 1,
    });
    let bundle = fixture.layer(None, &[("b/one.json", &statement.to_string())]).await;
    let mut result = claimed(&files, &bundle, "/b");
    let all = result.attestations.get_mut("linux/amd64").unwrap();
    *all = vec![Attestation::bundle(Some(bundle.clone()), "/b")];
    fixture.export(&result, "oci", &[]).await.unwrap();
    let (_, blobs) = untar(&fixture.stream());
    let manifest = document(&blobs, &image(&blobs)["manifests"][1]);
    let written = document(&blobs, &manifest["layers"][0]);
    assert_eq!(written["subject"], statement["subject"]);
    assert_eq!(written["predicate"], json!(1));
    result.attestations.get_mut("linux/amd64").unwrap()[0].predicate_type = "other".into();
    let error = fixture.export(&result, "oci", &[]).await.unwrap_err().to_string();
    assert!(error.contains("does not match required predicate type other"), "{error}");
}

#[tokio::test]
async fn attestations_stand_beside_the_files_that_they_are_about() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.layer(None, &[("a", "1"), ("x.claim.json", "in the way")]).await;
    let claim = fixture.layer(None, &[("claim.json", "{}")]).await;
    let result = claimed(&files, &claim, "/claim.json");
    for (attributes, name) in [
        (vec![("attestation-prefix", "x.")], "linux_amd64/x.claim.json"),
        (vec![("attestation-prefix", "x.")], "linux_amd64/x.claim.json"),
        (vec![("platform-split", "false")], "claim.linux_amd64.json"),
    ] {
        fixture.export(&result, "tar", &attributes).await.unwrap();
        let (names, contents) = untar(&fixture.stream());
        assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{names:?}");
        let statement: Value = serde_json::from_slice(&contents[name]).unwrap();
        let subject = &statement["subject"][0];
        assert_eq!(subject["name"], "a");
        assert_eq!(subject["digest"]["sha256"], Digest::sha256("1").hex());
    }
    for attributes in [&[][..], &[("mode", "delete")]] {
        fixture.export(&result, "local", attributes).await.unwrap();
        let mut sent = fixture.client.directories.lock().unwrap();
        let sent: Vec<String> = sent.drain(..).flat_map(|(_, names)| names).collect();
        assert!(sent.contains(&"linux_amd64/claim.json".to_owned()), "{sent:?}");
        assert!(sent.contains(&"linux_amd64/a".to_owned()), "{sent:?}");
    }
}

#[tokio::test]
async fn a_claim_wanted_only_beside_images_is_no_file_and_makes_no_index_of_an_archive() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.layer(None, &[("a", "1")]).await));
    for (inline_only, attributes, is_index) in [
        (false, vec![], true),
        (true, vec![], false),
        (true, vec![("attestation-inline", "true")], true),
    ] {
        fixture.context.claims = [("linux/amd64".to_owned(), provenance(inline_only))].into();
        fixture.export(&result, "oci", &attributes).await.unwrap();
        let (_, blobs) = untar(&fixture.stream());
        assert_eq!(image(&blobs)["manifests"].is_array(), is_index, "{inline_only}");
        fixture.export(&result, "tar", &[]).await.unwrap();
        let (names, _) = untar(&fixture.stream());
        assert_eq!(names.contains(&"provenance.json".to_owned()), !inline_only);
    }
    let error = fixture.export(&result, "image", &[("oci-mediatypes", "false")]).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "cannot export attestations with \"oci-mediatypes=false\"");
}

#[tokio::test]
async fn what_a_frontend_may_not_claim_ends_the_export() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.layer(None, &[("a", "1")]).await;
    let writable = fixture.context.store.prepare(None).await.unwrap();
    let mounted = writable.mount().await.unwrap();
    let outside = fixture.file("outside", b"{}");
    std::os::unix::fs::symlink(&outside, mounted.path().join("link.json")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/passwd", mounted.path().join("up.json")).unwrap();
    fs::create_dir(mounted.path().join("directory")).unwrap();
    drop(mounted);
    let claim = writable.commit().await.unwrap();
    for (path, kind, words) in [
        ("/link.json", KIND, "cannot read in-toto attestation"),
        ("/up.json", KIND, "cannot read in-toto attestation"),
        ("/directory", KIND, "cannot read in-toto attestation"),
        ("/missing", KIND, "cannot read in-toto attestation"),
        ("", KIND, "does not have set path"),
        ("/a", "https://slsa.dev/provenance/v1", "frontend may not set provenance"),
    ] {
        let mut result = claimed(&files, &claim, path);
        result.attestations.get_mut("linux/amd64").unwrap()[0].predicate_type = kind.into();
        let error = fixture.export(&result, "oci", &[]).await.unwrap_err().to_string();
        assert!(error.contains(words), "{path}: {error}");
    }
}

#[tokio::test]
async fn the_scan_of_a_result_says_which_layer_a_file_came_with() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let document_of = json!({
        "spdxVersion": "SPDX-2.3",
        "files": [{ "fileName": "/app/run" }, { "fileName": "/etc/os-release" }, { "fileName": "/x" }],
    });
    let scan = fixture.layer(None, &[("sbom.json", &document_of.to_string())]).await;
    let mut result = claimed(&files, &scan, "/sbom.json");
    let claim = &mut result.attestations.get_mut("linux/amd64").unwrap()[0];
    claim.predicate_type = "https://spdx.dev/Document".into();
    claim.metadata.insert("sbom-core".into(), Bytes::from_static(b"sbom"));
    claim.subjects =
        vec![Subject { kind: SubjectKind::Itself, name: String::new(), digests: Vec::new() }];
    fixture.export(&result, "oci", &[]).await.unwrap();
    let (_, blobs) = untar(&fixture.stream());
    let index = image(&blobs);
    let layers = document(&blobs, &index["manifests"][0])["layers"].clone();
    let attested = document(&blobs, &index["manifests"][1]);
    let listed = document(&blobs, &attested["layers"][0])["predicate"]["files"].clone();
    let layer =
        |number: usize| json!(format!("layerID: {}", layers[number]["digest"].as_str().unwrap()));
    assert_eq!(listed[0]["comment"], layer(1));
    assert_eq!(listed[1]["comment"], layer(0));
    assert_eq!(listed[2]["comment"], Value::Null);
}
