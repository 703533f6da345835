//! Images of a real registry, and of a layout in the client.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kiln_graph::Identifier;
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Reference, media_type};
use kiln_registry::testing::{LocalRegistry, ScriptedAnswer, ScriptedServer};
use kiln_registry::{Hosts, NoCredentials, Options, Registry, StaticCredentials};

use super::{Client, Room, chain, identifier, platform, skipped, tree};
use crate::Metadata;

/// An image, blob by blob.
pub(super) struct Built {
    /// The layers, then the config.
    pub(super) blobs: Vec<(Descriptor, Bytes)>,
    pub(super) manifest: (Descriptor, Bytes),
    pub(super) diff_ids: Vec<Digest>,
}

/// A plain tar with one file.
pub(super) fn tar(name: &str, content: &str) -> Bytes {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(content.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes.into()
}

fn blob(media_type: &str, bytes: Bytes) -> (Descriptor, Bytes) {
    (Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64), bytes)
}

pub(super) fn build(layers: &[Bytes]) -> Built {
    let diff_ids: Vec<Digest> = layers.iter().map(Digest::sha256).collect();
    let mut config = ImageConfig::new(&platform());
    config.rootfs.diff_ids.clone_from(&diff_ids);
    let config = blob(media_type::OCI_CONFIG, serde_json::to_vec(&config).unwrap().into());
    let mut blobs: Vec<_> =
        layers.iter().map(|layer| blob(media_type::OCI_LAYER, layer.clone())).collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.into(),
        config: config.0.clone(),
        layers: blobs.iter().map(|(descriptor, _)| descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
    };
    blobs.push(config);
    let bytes = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    Built { blobs, manifest: blob(media_type::OCI_MANIFEST, bytes), diff_ids }
}

/// Two layers, the upper one hiding a file of the lower one.
pub(super) fn example() -> Built {
    build(&[tar("a", "lower"), tar("a", "upper"), tar("b", "more")])
}

pub(super) async fn push(built: &Built, reference: &str) {
    let registry = Registry::new(Hosts::default(), Options::default());
    let reference: Reference = reference.parse().unwrap();
    for (descriptor, bytes) in &built.blobs {
        let source = Arc::new(bytes.clone());
        registry.push_blob(&reference, descriptor, source, &[], &NoCredentials).await.unwrap();
    }
    let (descriptor, bytes) = built.manifest.clone();
    registry
        .push_manifest(&reference, &descriptor.media_type, bytes, &NoCredentials)
        .await
        .unwrap();
}

pub(super) fn start() -> Option<LocalRegistry> {
    let server = LocalRegistry::start().unwrap();
    if server.is_none() {
        skipped("docker-registry");
    }
    server
}

pub(super) fn image(reference: &str, attrs: &[(&str, &str)]) -> Identifier {
    identifier(&format!("docker-image://{reference}"), attrs)
}

#[tokio::test]
async fn layers_are_pulled_and_applied_in_order() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let mut room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    let digest = &built.manifest.0.digest;
    let json = format!(r#"{{"Digest":"{digest}","OS":"linux","Arch":"amd64"}}"#);
    assert_eq!(pin.key.as_str(), Digest::sha256(json).to_string());
    let chain_id = kiln_oci::chain_ids(&built.diff_ids).pop().map(|id| id.to_string());
    assert_eq!(pin.content_key.as_ref().map(ToString::to_string), chain_id);
    let metadata = Metadata::Image {
        reference: name.parse::<Reference>().unwrap().with_digest(digest.clone()),
        manifest: digest.clone(),
        config: built.blobs[3].1.clone(),
    };
    assert_eq!(pin.metadata, metadata);
    let content = room.fetch(&source, &pin).await.unwrap();
    assert_eq!(content.layers().len(), 3);
    assert_eq!(content.diff_ids(), Some(built.diff_ids.clone()));
    if kiln_store::owner::single_id() {
        return skipped("the right to mount");
    }
    let files = tree(&content).await;
    assert_eq!(files["a"], "644 upper");
    assert_eq!(files["b"], "644 more");
    let parts = room.parts();
    assert!(parts.contains(&format!("resolve {name}")), "{parts:?}");
    assert!(parts.contains(&built.diff_ids[0].to_string()), "{parts:?}");
}

#[tokio::test]
async fn layers_stay_in_the_registry_until_somebody_looks_into_them() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let mut room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    let content = room.fetch_lazy(&source, &pin).await.unwrap();
    assert_eq!(content.diff_ids(), Some(built.diff_ids.clone()));
    assert!(content.is_kept() && content.ready().is_none());
    assert!(built.blobs.iter().all(|(blob, _)| room.store.blob(&blob.digest).is_none()));
    let id = content.id().to_owned();
    drop(content);
    // Another process finds it again by what the layers say of where they are from.
    room = room.restarted(Client::default());
    assert!(room.store.load(&id).is_err());
    let layers = room.sources.layers();
    let content = room.store.load_lazy(&id, &*layers).await.unwrap();
    content.files(&room.context.requester()).await.unwrap();
    let parts = room.parts();
    assert!(parts.contains(&built.diff_ids[0].to_string()), "{parts:?}");
    assert!(parts.contains(&format!("extracting {}", built.diff_ids[2])), "{parts:?}");
}

#[tokio::test]
async fn a_layer_that_is_gone_is_named_with_its_image_when_it_is_wanted() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    let content = room.fetch_lazy(&source, &pin).await.unwrap();
    let host = server.host();
    drop(server);
    let error = content.files(&room.context.requester()).await.unwrap_err();
    let text = chain(&error);
    let layer = &built.diff_ids[0];
    assert!(text.starts_with(&format!("layer {layer} of {name}: ")), "{text}");
    assert!(text.contains(&host), "{text}");
}

#[tokio::test]
async fn an_image_by_digest_needs_no_registry_the_second_time() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let by_digest = format!("{}/app@{}", server.host(), built.manifest.0.digest);
    let room = Room::new();
    let id = room.get(&image(&by_digest, &[])).await.unwrap().id().to_owned();
    room.get(&image(&name, &[])).await.unwrap();
    drop(server);
    let room = room.restarted(Client::default());
    assert_eq!(room.get(&image(&by_digest, &[])).await.unwrap().id(), id);
    // A tag may have moved on, so it is only taken as it was where that is asked for.
    room.get(&image(&name, &[("image.resolvemode", "local")])).await.unwrap();
    let error = room.get(&image(&name, &[])).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn shared_layers_are_pulled_once() {
    let Some(server) = start() else { return };
    let (one, two) =
        (build(&[tar("a", "1"), tar("b", "2")]), build(&[tar("a", "1"), tar("c", "3")]));
    let names = ["one", "two"].map(|name| format!("{}/{name}:1", server.host()));
    push(&one, &names[0]).await;
    push(&two, &names[1]).await;
    let mut room = Room::new();
    let first = room.get(&image(&names[0], &[])).await.unwrap();
    room.parts();
    let second = room.get(&image(&names[1], &[])).await.unwrap();
    assert_eq!(first.layers()[0].number(), second.layers()[0].number());
    let parts = room.parts();
    assert!(!parts.contains(&one.diff_ids[0].to_string()), "{parts:?}");
    assert!(parts.contains(&two.diff_ids[1].to_string()), "{parts:?}");
}

#[tokio::test]
async fn only_the_lower_layers_can_be_wanted() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let room = Room::new();
    let source = image(&name, &[("image.layerlimit", "1")]);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(
        pin.content_key.as_ref().map(ToString::to_string),
        Some(built.diff_ids[0].to_string())
    );
    let content = room.fetch(&source, &pin).await.unwrap();
    assert_eq!(tree(&content).await, [("a".to_owned(), "644 lower".to_owned())].into());
    let whole = room.pin(&image(&name, &[])).await.unwrap();
    assert_ne!(pin.key, whole.key);
    let error = room.pin(&image(&name, &[("image.layerlimit", "9")])).await.unwrap_err();
    assert!(error.to_string().ends_with("image has 3 layers, limit is 9"), "{error}");
}

#[tokio::test]
async fn a_checksum_has_to_match() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let room = Room::new();
    let right = built.manifest.0.digest.to_string();
    room.pin(&image(&name, &[("image.checksum", &right)])).await.unwrap();
    let wrong = Digest::sha256("x").to_string();
    let error = room.pin(&image(&name, &[("image.checksum", &wrong)])).await.unwrap_err();
    let want = format!("image digest {right} for {name} does not match expected checksum {wrong}");
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_layer_with_other_content_than_its_diff_id_is_refused() {
    let Some(server) = start() else { return };
    let mut built = build(&[tar("a", "1")]);
    let mut config = ImageConfig::new(&platform());
    config.rootfs.diff_ids = vec![Digest::sha256("something else")];
    let config = blob(media_type::OCI_CONFIG, serde_json::to_vec(&config).unwrap().into());
    let mut manifest: Manifest = serde_json::from_slice(&built.manifest.1).unwrap();
    manifest.config = config.0.clone();
    built.blobs.push(config);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    built.manifest = blob(media_type::OCI_MANIFEST, bytes.into());
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let error = Room::new().get(&image(&name, &[])).await.unwrap_err();
    assert!(chain(&error).contains("expected sha256:"), "{}", chain(&error));
}

#[tokio::test]
async fn an_image_without_layers_is_nothing() {
    let Some(server) = start() else { return };
    let name = format!("{}/empty:1", server.host());
    push(&build(&[]), &name).await;
    let room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    assert_eq!(pin.content_key, None);
    assert!(room.sources.fetch(&source, &pin, &room.context).await.unwrap().is_none());
}

#[tokio::test]
async fn an_image_of_a_layout_comes_from_the_client() {
    let built = example();
    let mut manifest = built.manifest.0.clone();
    manifest.platform = Some(platform());
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.into(),
        manifests: vec![manifest],
        annotations: BTreeMap::new(),
    };
    let index = blob(media_type::OCI_INDEX, serde_json::to_vec(&index).unwrap().into());
    let digest = index.0.digest.clone();
    let blobs = built.blobs.iter().cloned().chain([built.manifest.clone(), index]);
    let layout = blobs.map(|(descriptor, bytes)| (descriptor.digest, bytes)).collect();
    let room = Room::with(Client { layout, ..Client::default() });
    let text = format!("oci-layout://name/x@{digest}");
    let source = identifier(&text, &[("oci.store", "my-layout")]);
    let pin = room.pin(&source).await.unwrap();
    let Metadata::Image { manifest, .. } = &pin.metadata else { panic!("{pin:?}") };
    assert_eq!(*manifest, built.manifest.0.digest);
    let content = room.fetch(&source, &pin).await.unwrap();
    assert_eq!(content.layers().len(), 3);

    let missing = format!("oci-layout://name/x@{}", Digest::sha256("missing"));
    let error = room.get(&identifier(&missing, &[("oci.store", "my-layout")])).await.unwrap_err();
    assert!(chain(&error).contains("not found"), "{}", chain(&error));
}

#[tokio::test]
async fn a_pull_that_is_given_up_does_not_stand_in_the_way_of_the_next() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    for patience in [0, 1, 2, 5, 10] {
        let patience = std::time::Duration::from_millis(patience);
        // Whether it gets anywhere in that time does not matter.
        tokio::time::timeout(patience, room.fetch(&source, &pin)).await.ok();
    }
    assert_eq!(room.fetch(&source, &pin).await.unwrap().layers().len(), 3);
    let begun = room.store.root().join("ingest");
    for _ in 0..100 {
        if std::fs::read_dir(&begun).unwrap().next().is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("what was begun is still there");
}

#[tokio::test]
async fn two_builds_share_one_pull() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let mut room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    let (one, two) = tokio::join!(room.fetch(&source, &pin), room.fetch(&source, &pin));
    let numbers = |content: kiln_store::Ref| {
        content.layers().iter().map(|layer| layer.number()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(one.unwrap()), numbers(two.unwrap()));
    let parts = room.parts();
    let bottom = built.diff_ids[0].to_string();
    assert_eq!(parts.iter().filter(|id| **id == bottom).count(), 1, "{parts:?}");
}

/// Forgets everything that can be had again.
async fn prune(room: &Room) {
    let all = kiln_store::PruneOptions { all: true, ..kiln_store::PruneOptions::default() };
    room.store.prune(all, &mut |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_digest_is_given_out_only_under_names_that_have_it() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    push(&build(&[tar("x", "x")]), &format!("{}/other:1", server.host())).await;
    let digest = &built.manifest.0.digest;
    let room = Room::new();
    room.get(&image(&name, &[])).await.unwrap();
    for elsewhere in [server.host() + "/other", "example.invalid/x".to_owned()] {
        for mode in ["default", "local", "pull"] {
            let source = image(&format!("{elsewhere}@{digest}"), &[("image.resolvemode", mode)]);
            let text = chain(&room.get(&source).await.unwrap_err());
            assert!(text.contains(&elsewhere) || text.contains("example.invalid"), "{text}");
        }
    }
    room.get(&image(&format!("{}/app@{digest}", server.host()), &[])).await.unwrap();
}

/// A registry with one image, for those who have the login.
fn private_registry(built: &Built) -> ScriptedServer {
    let contents: BTreeMap<String, (String, Bytes)> = built
        .blobs
        .iter()
        .chain([&built.manifest])
        .map(|(descriptor, bytes)| {
            (descriptor.digest.to_string(), (descriptor.media_type.clone(), bytes.clone()))
        })
        .collect();
    let digest = built.manifest.0.digest.to_string();
    ScriptedServer::start(move |request| {
        // user:pass
        if request.header("authorization") != "Basic dXNlcjpwYXNz" {
            return ScriptedAnswer::new(401, "").with("WWW-Authenticate", "Basic realm=x");
        }
        let last = request.target.rsplit('/').next().unwrap_or_default();
        let name = if last == "1" { &digest } else { last };
        match contents.get(name) {
            Some((media_type, bytes)) => ScriptedAnswer::new(200, bytes.to_vec())
                .with("Content-Type", media_type)
                .with("Docker-Content-Digest", name),
            None => ScriptedAnswer::new(404, ""),
        }
    })
    .unwrap()
}

#[tokio::test]
async fn what_one_client_may_pull_is_not_given_to_another_because_it_is_here() {
    let built = example();
    let server = private_registry(&built);
    let names = ["app:1".to_owned(), format!("app@{}", built.manifest.0.digest)];
    let sources = names.map(|name| image(&format!("{}/{name}", server.host()), &[]));
    let local = image(&format!("{}/app:1", server.host()), &[("image.resolvemode", "local")]);
    let room = Room::new();
    let login = |secret: &str| StaticCredentials::new(&server.host(), "user", secret);
    *room.session.login.lock().unwrap() = Some(login("pass"));
    for source in sources.iter().chain([&local]) {
        room.get(source).await.unwrap();
    }
    let asked = server.asked().len();
    room.get(&sources[1]).await.unwrap();
    room.get(&local).await.unwrap();
    assert_eq!(server.asked().len(), asked, "the same client need not ask again");
    for other in [None, Some(login("guess"))] {
        *room.session.login.lock().unwrap() = other;
        for source in sources.iter().chain([&local]) {
            let text = chain(&room.get(source).await.unwrap_err());
            assert!(text.contains("requires authorization"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_was_pruned_is_asked_for_even_by_who_prefers_what_is_here() {
    let Some(server) = start() else { return };
    let name = format!("{}/app:1", server.host());
    let local = image(&name, &[("image.resolvemode", "local")]);
    let (first, second) = (build(&[tar("a", "1")]), build(&[tar("a", "2")]));
    push(&first, &name).await;
    let room = Room::new();
    room.get(&local).await.unwrap();
    push(&second, &name).await;
    let here = room.get(&local).await.unwrap();
    assert_eq!(here.diff_ids(), Some(first.diff_ids.clone()), "it is here");
    drop(here);
    prune(&room).await;
    assert_eq!(room.get(&local).await.unwrap().diff_ids(), Some(second.diff_ids.clone()));
}

#[tokio::test]
async fn layers_say_from_which_repository_they_were_pulled() {
    let Some(server) = start() else { return };
    let built = build(&[tar("a", "1")]);
    let name = format!("{}/team/app:1", server.host());
    push(&built, &name).await;
    let room = Room::new();
    let content = room.get(&image(&name, &[])).await.unwrap();
    let blobs = content.layers()[0].blobs();
    let key = format!("containerd.io/distribution.source.{}", server.host());
    assert_eq!(blobs[0].annotations.get(&key).map(String::as_str), Some("team/app"));
}

#[tokio::test]
async fn a_client_gets_of_a_layout_only_what_it_has() {
    let built = example();
    let digest = built.manifest.0.digest.clone();
    let blobs = built.blobs.iter().cloned().chain([built.manifest.clone()]);
    let layout = blobs.map(|(descriptor, bytes)| (descriptor.digest, bytes)).collect();
    let source = identifier(&format!("oci-layout://x@{digest}"), &[("oci.store", "my-layout")]);
    let room = Room::with(Client { layout, ..Client::default() });
    room.get(&source).await.unwrap();
    let room = room.restarted(Client::default());
    let text = chain(&room.get(&source).await.unwrap_err());
    assert!(text.contains("not found"), "{text}");
}

#[tokio::test]
async fn what_is_claimed_about_an_image_is_found_with_what_signs_it() {
    const PREDICATE: &str = "https://example.com/claim";
    let Some(server) = start() else { return };
    let name = format!("{}/claimed:1", server.host());
    let built = example();
    push(&built, &name).await;
    let document = |media_type: &str, json: serde_json::Value| {
        blob(media_type, Bytes::from(serde_json::to_vec(&json).unwrap()))
    };
    let manifest_of = async |layer: (Descriptor, Bytes)| {
        let config = blob("application/vnd.oci.empty.v1+json", Bytes::from_static(b"{}"));
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": config.0,
            "layers": [layer.0],
        });
        let manifest = document(media_type::OCI_MANIFEST, manifest);
        let whole =
            Built { blobs: vec![config, layer], manifest: manifest.clone(), diff_ids: Vec::new() };
        push(&whole, &format!("{}@{}", name.trim_end_matches(":1"), manifest.0.digest)).await;
        manifest
    };
    let mut statement = blob("application/vnd.in-toto+json", Bytes::from_static(b"{\"a\":1}"));
    statement.0.annotations.insert("in-toto.io/predicate-type".into(), PREDICATE.into());
    let mut attested = manifest_of(statement.clone()).await;
    let about = built.manifest.0.digest.to_string();
    attested.0.annotations = BTreeMap::from([
        ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest".to_owned(), about),
    ]);
    attested.0.platform = Some("unknown/unknown".parse().unwrap());
    let bundle = blob("application/vnd.dev.sigstore.bundle.v0.3+json", Bytes::from_static(b"{}"));
    let signature = manifest_of(bundle).await;
    let index = |manifests: Vec<serde_json::Value>| {
        serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": manifests,
        })
    };
    let mut listed = serde_json::to_value(&signature.0).unwrap();
    listed["artifactType"] = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
    let registry = Registry::new(Hosts::default(), Options::default());
    let mut image_of = built.manifest.0.clone();
    image_of.platform = Some(platform());
    let entries = [&image_of, &attested.0].map(|entry| serde_json::to_value(entry).unwrap());
    let stand_in = format!(
        "{}:{}-{}",
        name.trim_end_matches(":1"),
        attested.0.digest.algorithm(),
        attested.0.digest.hex()
    );
    for (target, json) in [(&name, index(entries.into())), (&stand_in, index(vec![listed]))] {
        let (descriptor, bytes) = document(media_type::OCI_INDEX, json);
        let target: Reference = target.parse().unwrap();
        let pushed = registry.push_manifest(&target, &descriptor.media_type, bytes, &NoCredentials);
        pushed.await.unwrap();
    }
    let room = Room::new();
    let source = image(&name, &[]);
    let pin = room.pin(&source).await.unwrap();
    let found = async |kinds: &[&str]| {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let found = room.sources.attestations(&pin, &kinds, &room.context).await;
        found.unwrap().unwrap()
    };
    let none = found(&[]).await;
    assert_eq!(none.image, built.manifest.0.digest);
    assert_eq!(none.manifest, Some(attested.0.digest.clone()));
    assert_eq!(none.signatures, [signature.0.digest]);
    let digests = |blobs: &[(Descriptor, Bytes)]| -> Vec<Digest> {
        blobs.iter().map(|(descriptor, _)| descriptor.digest.clone()).collect()
    };
    assert!(!digests(&none.blobs).contains(&statement.0.digest));
    assert_eq!(none.blobs.len(), 4, "index, attestations, signature and its bundle");
    assert!(digests(&found(&[PREDICATE]).await.blobs).contains(&statement.0.digest));
    // An image that is no index has nothing that could name attestations.
    let plain = format!("{}/plain:1", server.host());
    push(&built, &plain).await;
    let pin = room.pin(&image(&plain, &[])).await.unwrap();
    assert!(room.sources.attestations(&pin, &[], &room.context).await.unwrap().is_none());
}
