//! OCI and Docker archives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::{Descriptor, ImageConfig, Index, Manifest, media_type};
use serde_json::Value;

use super::*;

const EPOCH: (&str, &str) = ("source-date-epoch", "1600000000");

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Descriptor) -> &'a [u8] {
    let bytes = &files[&format!("blobs/sha256/{}", descriptor.digest.hex())];
    assert_eq!(bytes.len() as u64, descriptor.size);
    assert_eq!(kiln_oci::Digest::sha256(bytes), descriptor.digest);
    bytes
}

fn index(files: &BTreeMap<String, Vec<u8>>) -> Index {
    serde_json::from_slice(&files["index.json"]).unwrap()
}

#[tokio::test]
async fn an_oci_archive_is_a_layout_that_other_tools_read() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    let attributes = [EPOCH, ("name", "example.org/app:1,example.org/app:2")];
    let response = fixture.export(&result, "oci", &attributes).await.unwrap();
    let bytes = fixture.stream();
    let (names, files) = untar(&bytes);
    assert_eq!(names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(names[names.len() - 2..], ["index.json", "oci-layout"]);
    assert!(names.is_sorted());

    let index = index(&files);
    assert_eq!(index.manifests.len(), 2);
    let entry = &index.manifests[1];
    assert_eq!(entry.annotations["io.containerd.image.name"], "example.org/app:2");
    assert_eq!(entry.annotations["org.opencontainers.image.ref.name"], "2");
    assert_eq!(entry.annotations["org.opencontainers.image.created"], "2020-09-13T12:26:40Z");
    let manifest: Manifest = serde_json::from_slice(blob(&files, entry)).unwrap();
    assert_eq!(manifest.media_type, media_type::OCI_MANIFEST);
    assert_eq!(manifest.layers.len(), 2);
    let config: ImageConfig = serde_json::from_slice(blob(&files, &manifest.config)).unwrap();
    assert_eq!(config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    assert_eq!(config.history.len(), 2);
    for layer in &manifest.layers {
        assert_eq!(layer.media_type, media_type::OCI_LAYER_GZIP);
        assert!(layer.annotations.is_empty());
        blob(&files, layer);
    }

    assert_eq!(response["containerimage.digest"], entry.digest.as_str());
    assert_eq!(response["containerimage.config.digest"], manifest.config.digest.as_str());
    assert_eq!(response["image.name"], "example.org/app:1,example.org/app:2");
    let described = STANDARD.decode(&response["containerimage.descriptor"]).unwrap();
    let described: Value = serde_json::from_slice(&described).unwrap();
    assert_eq!(described["annotations"]["config.digest"], Value::Null);
    assert_eq!(
        fixture.told().0,
        [
            "exporting layers".to_owned(),
            format!("exporting manifest {}", entry.digest),
            format!("exporting config {}", manifest.config.digest),
            "sending tarball".to_owned(),
        ]
    );

    let path = fixture.file("image.tar", &bytes);
    let source = format!("oci-archive:{}:2", path.display());
    if let Some(inspected) = run("skopeo", &["inspect", "--config", &source]) {
        assert!(inspected.contains("2020-09-13T12:26:40Z"), "{inspected}");
    }
}

#[tokio::test]
async fn umoci_unpacks_what_was_built() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    fixture.export(&result, "oci", &[("name", "app:1")]).await.unwrap();
    let archive = fixture.file("image.tar", &fixture.stream());
    let layout = fixture.directory.path().join("layout");
    fs::create_dir(&layout).unwrap();
    let text = |path: &Path| path.display().to_string();
    run("tar", &["-xf", &text(&archive), "-C", &text(&layout)]).unwrap();
    let bundle = fixture.directory.path().join("bundle");
    let image = format!("{}:1", text(&layout));
    if run("umoci", &["unpack", "--image", &image, &text(&bundle)]).is_some() {
        let file = |name: &str| fs::read_to_string(bundle.join("rootfs").join(name)).unwrap();
        assert_eq!(file("etc/os-release"), "ID=kiln\n");
        assert_eq!(file("app/run"), "#!/bin/sh\n");
    }
}

#[tokio::test]
async fn a_layer_with_a_table_is_an_ordinary_layer_for_other_tools() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    let attributes = [EPOCH, ("name", "app:1"), ("compression", "estargz")];
    fixture.export(&result, "oci", &attributes).await.unwrap();
    let bytes = fixture.stream();
    fixture.export(&result, "oci", &attributes).await.unwrap();
    assert!(fixture.stream() == bytes, "the second is the same");
    let (_, files) = untar(&bytes);
    let manifest: Manifest =
        serde_json::from_slice(blob(&files, &index(&files).manifests[0])).unwrap();
    let config: ImageConfig = serde_json::from_slice(blob(&files, &manifest.config)).unwrap();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        assert_eq!(layer.media_type, media_type::OCI_LAYER_GZIP);
        let keys: Vec<&str> = layer.annotations.keys().map(String::as_str).collect();
        let told =
            ["containerd.io/snapshot/stargz/toc.digest", "io.containers.estargz.uncompressed-size"];
        assert_eq!(keys, told);
        let mut tar = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::MultiGzDecoder::new(blob(&files, layer)),
            &mut tar,
        )
        .unwrap();
        assert_eq!(kiln_oci::Digest::sha256(&tar), *diff_id);
        assert_eq!(layer.annotations[told[1]], tar.len().to_string());
    }

    let archive = fixture.file("image.tar", &bytes);
    let layout = fixture.directory.path().join("layout");
    let text = |path: &Path| path.display().to_string();
    let to = format!("oci:{}:2", text(&layout));
    let from = format!("oci-archive:{}:1", text(&archive));
    if run("skopeo", &["--insecure-policy", "copy", &from, &to]).is_none() {
        return;
    }
    let bundle = fixture.directory.path().join("bundle");
    let image = format!("{}:2", text(&layout));
    if run("umoci", &["unpack", "--image", &image, &text(&bundle)]).is_some() {
        let root = bundle.join("rootfs");
        assert_eq!(fs::read_to_string(root.join("etc/os-release")).unwrap(), "ID=kiln\n");
        assert!(!root.join("stargz.index.json").exists());
    }
}

#[tokio::test]
async fn a_docker_archive_has_the_file_that_docker_load_reads() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    let attributes = [("name", "app:1"), ("oci-mediatypes", "false")];
    fixture.export(&result, "docker", &attributes).await.unwrap();
    let bytes = fixture.stream();
    let (_, files) = untar(&bytes);
    let entries: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(entries[0]["RepoTags"], serde_json::json!(["app:1"]));
    let index = index(&files);
    assert_eq!(index.manifests[0].media_type, media_type::DOCKER_MANIFEST);
    let manifest: Manifest = serde_json::from_slice(blob(&files, &index.manifests[0])).unwrap();
    assert_eq!(
        entries[0]["Config"],
        format!("blobs/sha256/{}", manifest.config.digest.hex()).as_str()
    );
    assert_eq!(manifest.layers[0].media_type, media_type::DOCKER_LAYER_GZIP);
    assert_eq!(entries[0]["Layers"].as_array().unwrap().len(), 2);
    let path = fixture.file("image.tar", &bytes);
    let source = format!("docker-archive:{}:app:1", path.display());
    if let Some(inspected) = run("skopeo", &["inspect", &source]) {
        assert!(inspected.contains("\"Architecture\": \"amd64\""), "{inspected}");
    }
}

#[tokio::test]
async fn with_an_epoch_the_same_files_give_the_same_bytes() {
    if !is_root() {
        return;
    }
    let mut archives = Vec::new();
    for _ in 0..2 {
        let fixture = Fixture::new();
        let result = BuildResult::single(Some(fixture.two_layers().await));
        let attributes = [EPOCH, ("rewrite-timestamp", "true"), ("name", "app")];
        fixture.export(&result, "oci", &attributes).await.unwrap();
        archives.push(fixture.stream());
        // Files of the next round have other times.
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert!(archives[0] == archives[1]);
}

#[tokio::test]
async fn a_map_of_results_becomes_an_index_in_its_order() {
    if !is_root() {
        return;
    }
    let mut fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let mut result = by_platform(&[("linux/arm64", Some(files)), ("linux/amd64", None)]);
    result.metadata.insert("annotation-index.who".into(), "frontend".into());
    let attributes = [EPOCH, ("annotation-manifest[linux/arm64].where", "arm")];
    let response = fixture.export(&result, "oci", &attributes).await.unwrap();
    let (_, files) = untar(&fixture.stream());
    let root = index(&files).manifests.remove(0);
    assert_eq!(root.media_type, media_type::OCI_INDEX);
    assert_eq!(response["containerimage.digest"], root.digest.as_str());
    assert!(!response.contains_key("containerimage.config.digest"));
    let text = std::str::from_utf8(blob(&files, &root)).unwrap();
    assert!(text.starts_with("{\n  \"schemaVersion\": 2,\n  \"mediaType\""), "{text}");
    let inner: Index = serde_json::from_str(text).unwrap();
    assert_eq!(inner.annotations["who"], "frontend");
    let platforms: Vec<String> =
        inner.manifests.iter().map(|m| m.platform.as_ref().unwrap().format()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);
    let arm: Manifest = serde_json::from_slice(blob(&files, &inner.manifests[0])).unwrap();
    assert_eq!(arm.annotations["where"], "arm");
    let amd: Manifest = serde_json::from_slice(blob(&files, &inner.manifests[1])).unwrap();
    assert!(amd.layers.is_empty() && amd.annotations.is_empty());
    assert!(fixture.told().0.contains(&format!("exporting manifest list {}", root.digest)));
}

#[tokio::test]
async fn scratch_is_an_image_without_layers() {
    let fixture = Fixture::new();
    fixture.export(&BuildResult::single(None), "oci", &[EPOCH]).await.unwrap();
    let (_, files) = untar(&fixture.stream());
    let index = index(&files);
    let manifest: Manifest = serde_json::from_slice(blob(&files, &index.manifests[0])).unwrap();
    assert!(manifest.layers.is_empty());
    let config: ImageConfig = serde_json::from_slice(blob(&files, &manifest.config)).unwrap();
    assert_eq!(config.platform.format(), "linux/amd64");
}

#[tokio::test]
async fn the_client_may_override_the_config_and_the_frontend_may_name_the_image() {
    let fixture = Fixture::new();
    let mut result = BuildResult::single(None);
    result.metadata.insert(keys::IMAGE_NAME.into(), "from/frontend".into());
    let config = r#"{"os":"linux","architecture":"riscv64"}"#;
    let attributes = [("containerimage.config", config), ("name", "*")];
    let response = fixture.export(&result, "oci", &attributes).await.unwrap();
    assert_eq!(response["image.name"], "docker.io/from/frontend:latest");
    let (_, files) = untar(&fixture.stream());
    let manifest: Manifest =
        serde_json::from_slice(blob(&files, &index(&files).manifests[0])).unwrap();
    let config: ImageConfig = serde_json::from_slice(blob(&files, &manifest.config)).unwrap();
    assert_eq!(config.platform.format(), "linux/riscv64");
}

#[tokio::test]
async fn what_cannot_be_exported_says_why() {
    let fixture = Fixture::new();
    let single = BuildResult::single(None);
    let multi = by_platform(&[("linux/amd64", None)]);
    for (result, kind, attributes, want) in [
        (&multi, "docker", &[][..], "does not currently support exporting manifest lists"),
        (&single, "image", &[("pussh", "true")][..], "no attribute `pussh`, did you mean `push`?"),
        (&single, "image", &[("push", "true")][..], "cannot be pushed"),
        (
            &single,
            "oci",
            &[("annotation-index.a", "b")][..],
            "index annotations not supported for single platform export",
        ),
        (
            &single,
            "image",
            &[("containerimage.config", "null")][..],
            "invalid null image config for export",
        ),
        (
            &single,
            "image",
            &[("containerimage.config", r#"{"os":"linux"}"#)][..],
            "os and architecture must be specified together",
        ),
    ] {
        let error = fixture.export(result, kind, attributes).await.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_refuses_fails_the_vertex() {
    let mut fixture = Fixture::with_client(Double { refuses: true, ..Double::default() });
    let exported = fixture.export(&BuildResult::single(None), "oci", &[]).await;
    assert!(matches!(exported, Err(ExportError::Client(_))));
    assert_eq!(fixture.told().1, ["failed to send to the client: no"]);
}

#[tokio::test]
async fn without_an_archive_every_blob_goes_into_the_clients_store() {
    let fixture = Fixture::new();
    let files = fixture.layer(None, &[("a", "1")]).await;
    let result = by_platform(&[("linux/amd64", Some(files)), ("linux/arm64", None)]);
    let attributes = [EPOCH, ("tar", "false"), ("name", "app")];
    let response = fixture.export(&result, "oci", &attributes).await.unwrap();
    assert!(fixture.client.streams.lock().unwrap().is_empty());
    let blobs = fixture.client.blobs.lock().unwrap();
    let types: Vec<&str> = blobs.iter().map(|(blob, _)| blob.media_type.as_str()).collect();
    let (manifest, config) = (media_type::OCI_MANIFEST, media_type::OCI_CONFIG);
    let expected =
        [media_type::OCI_LAYER_GZIP, config, manifest, config, manifest, media_type::OCI_INDEX];
    assert_eq!(types, expected, "what is named comes before what names it");
    for (blob, bytes) in &*blobs {
        assert_eq!(kiln_oci::Digest::sha256(bytes), blob.digest);
    }
    assert_eq!(response["containerimage.digest"], blobs.last().unwrap().0.digest.as_str());
    assert_eq!(response["image.name"], "docker.io/library/app:latest");
}

#[tokio::test]
async fn configs_are_dated_to_the_nanosecond() {
    let fixture = Fixture::new();
    let config = async |result: &BuildResult<Ref>| {
        fixture.export(result, "oci", &[]).await.unwrap();
        let (_, files) = untar(&fixture.stream());
        let manifest: Manifest =
            serde_json::from_slice(blob(&files, &index(&files).manifests[0])).unwrap();
        serde_json::from_slice::<ImageConfig>(blob(&files, &manifest.config)).unwrap()
    };
    let result = BuildResult::single(Some(fixture.layer(None, &[]).await));
    let (first, again) = (config(&result).await, config(&result).await);
    assert_eq!(first.created, again.created, "of the same result the same image");
    assert_eq!(first.created, first.history[0].created);
    assert!(first.created.unwrap().contains('.'));
}

#[tokio::test]
async fn the_first_failure_gives_up_the_other_exports() {
    let mut fixture = Fixture::with_client(Double { hangs: true, ..Double::default() });
    let parse = |id: &str, kind: &str, key: &str, value: &str| {
        Export::parse(id, kind, &BTreeMap::from([(key.to_owned(), value.to_owned())])).unwrap()
    };
    let exports =
        [parse("0", "oci", "oci-mediatypes", "true"), parse("1", "image", "push", "true")];
    let error = export(&exports, &BuildResult::single(None), &fixture.context).await.unwrap_err();
    assert!(matches!(error, ExportError::Unnamed), "{error}");
    let errors = fixture.told().1;
    assert_eq!(errors.len(), 2);
    assert!(errors.contains(&"canceled".to_owned()), "{errors:?}");
}

#[tokio::test]
async fn without_a_session_only_images_can_be_exported() {
    let mut fixture = Fixture::new();
    fixture.context.client = None;
    let result = BuildResult::single(None);
    for kind in ["oci", "docker", "tar", "local"] {
        let error = fixture.export(&result, kind, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "could not access local files without session");
    }
    fixture.export(&result, "image", &[("name", "app")]).await.unwrap();
}
