//! Images by name: in the store, and pushed to a real registry.

use kiln_oci::Reference;
use kiln_registry::testing::{LocalRegistry, ScriptedAnswer, ScriptedServer};
use kiln_registry::{Documents as _, ImagePlan};
use kiln_store::{Compression, PruneOptions, Requester};

use super::*;
use crate::Images;

fn registry() -> Option<LocalRegistry> {
    let registry = LocalRegistry::start().unwrap();
    if registry.is_none() {
        report_skip("docker-registry");
    }
    registry
}

#[tokio::test]
async fn a_pushed_image_is_what_other_tools_pull() {
    let (true, Some(registry)) = (is_root(), registry()) else { return };
    let mut fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    let name = format!("{}/team/app:1", registry.host());
    let attributes = [("name", name.as_str()), ("push", "true")];
    let response = fixture.export(&result, "image", &attributes).await.unwrap();
    assert_eq!(response["image.name"], name);
    let digest = &response["containerimage.digest"];
    let (told, _) = fixture.told();
    assert_eq!(
        told[3..],
        [
            format!("naming to {name}"),
            "pushing layers".to_owned(),
            format!("pushing manifest for {name}@{digest}"),
        ]
    );
    let source = format!("docker://{name}");
    if let Some(inspected) = run("skopeo", &["inspect", "--tls-verify=false", &source]) {
        assert!(inspected.contains(digest), "{inspected}");
    }
    // Once more: nothing has to be sent, nothing changes.
    let again = fixture
        .export(&result, "image", &[attributes[0], attributes[1], ("registry.insecure", "true")])
        .await
        .unwrap();
    assert_eq!(again["containerimage.digest"], *digest);
}

#[tokio::test]
async fn every_platform_of_an_index_is_pushed() {
    let (true, Some(registry)) = (is_root(), registry()) else { return };
    let fixture = Fixture::new();
    let files = fixture.two_layers().await;
    let result = by_platform(&[("linux/amd64", Some(files)), ("linux/arm64", None)]);
    let name = format!("{}/multi", registry.host());
    let attributes = [
        ("name", name.as_str()),
        ("push", ""),
        ("push-by-digest", "true"),
        ("oci-mediatypes", "false"),
    ];
    let response = fixture.export(&result, "image", &attributes).await.unwrap();
    let digest = &response["containerimage.digest"];
    let reference: Reference = format!("{name}@{digest}").parse().unwrap();
    for (id, layers) in [("linux/amd64", 2), ("linux/arm64", 0)] {
        let registry = &fixture.context.registry;
        let plan =
            registry.pull_image_plan(&reference, &platform(id), &NoCredentials).await.unwrap();
        assert_eq!(plan.layers().len(), layers);
        assert_eq!(plan.root.media_type, kiln_oci::media_type::DOCKER_INDEX);
    }
    let tagged: Reference = name.parse().unwrap();
    let registry = &fixture.context.registry;
    assert!(registry.resolve(&tagged, &NoCredentials).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let attributes = [("name", "127.0.0.1:1/app"), ("push", "true"), ("store", "false")];
    let context = ExportContext {
        registry: Registry::new(
            Hosts::default(),
            kiln_registry::Options { retry_delays: Vec::new(), ..Default::default() },
        ),
        ..fixture.context.clone()
    };
    let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let exports = [Export::parse("0", "image", &attributes.collect()).unwrap()];
    let error = export(&exports, &BuildResult::single(None), &context).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to push 127.0.0.1:1/app:latest");
}

#[tokio::test]
async fn a_named_image_is_found_and_read_without_a_registry() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.two_layers().await));
    let response = fixture.export(&result, "image", &[("name", "app:1")]).await.unwrap();
    drop(result);
    let images = Images::of(&fixture.context.store);
    let reference: Reference = "app:1".parse().unwrap();
    let image = images.find(&reference).unwrap();
    assert_eq!(image.name, "docker.io/library/app:1");
    assert_eq!(image.descriptor.digest.as_str(), response["containerimage.digest"]);
    let (root, amd64) = (image.descriptor.clone(), platform("linux/amd64"));
    let plan = ImagePlan::read("app:1", root, &amd64, &image).await.unwrap();
    assert_eq!(plan.layers().len(), 2);
    for layer in plan.layers() {
        assert!(fixture.context.store.blob(&layer.digest).is_some());
    }
    let (_, files) = &image.refs(&fixture.context.store).unwrap()[0];
    assert_eq!(files.as_ref().unwrap().diff_ids().unwrap(), plan.config.rootfs.diff_ids);
    let absent = Descriptor::new("", kiln_oci::Digest::sha256("absent"), 1);
    assert!(image.document(&absent).await.is_err());
    assert!(images.find(&"app:2".parse().unwrap()).is_none());
    assert_eq!(images.list().len(), 1);
}

#[tokio::test]
async fn a_name_moves_to_the_newest_image_and_vanishes_when_pruned() {
    let fixture = Fixture::new();
    let reference: Reference = "app".parse().unwrap();
    let images = Images::of(&fixture.context.store);
    let mut digests = Vec::new();
    for content in ["1", "2"] {
        let result = BuildResult::single(Some(fixture.layer(None, &[("a", content)]).await));
        fixture
            .export(&result, "image", &[("name", "app"), ("name-canonical", "true")])
            .await
            .unwrap();
        digests.push(images.find(&reference).unwrap().descriptor.digest);
    }
    assert_ne!(digests[0], digests[1]);
    // The first image is still there by its digest.
    assert_eq!(images.list().len(), 3);
    let options = PruneOptions { all: true, ..PruneOptions::default() };
    fixture.context.store.prune(options, &mut |_| {}).await.unwrap();
    assert!(images.find(&reference).is_none());
    assert!(images.list().is_empty());
}

#[tokio::test]
async fn layers_with_rewritten_times_outlive_the_build() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let result = BuildResult::single(Some(fixture.layer(None, &[("a", "1")]).await));
    let attributes =
        [("name", "app"), ("source-date-epoch", "1000"), ("rewrite-timestamp", "true")];
    fixture.export(&result, "image", &attributes).await.unwrap();
    drop(result);
    let image = Images::of(&fixture.context.store).find(&"app".parse().unwrap()).unwrap();
    let (_, files) = &image.refs(&fixture.context.store).unwrap()[0];
    let mounted = files.as_ref().unwrap().ready().unwrap().mount().await.unwrap();
    let time = fs::metadata(mounted.path().join("a")).unwrap().modified().unwrap();
    assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
}

#[tokio::test]
async fn a_dangling_image_can_be_found_by_its_digest() {
    let fixture = Fixture::new();
    let attributes = [("dangling-name-prefix", "dangling"), ("danging-name-empty-only", "")];
    let response = fixture.export(&BuildResult::single(None), "image", &attributes).await.unwrap();
    let name: Reference =
        format!("dangling@{}", response["containerimage.digest"]).parse().unwrap();
    assert!(Images::of(&fixture.context.store).find(&name).is_some());
}

#[tokio::test]
async fn an_image_that_was_made_elsewhere_is_added_and_found_by_its_digest() {
    let fixture = Fixture::new();
    let store = &fixture.context.store;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o755);
    tar.append_data(&mut header, "frontend", &b"hello"[..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    let diff_id = kiln_oci::Digest::sha256(&bytes);
    let layer = Descriptor::new(
        "application/vnd.oci.image.layer.v1.tar",
        diff_id.clone(),
        bytes.len() as u64,
    );
    let blob = store.write_blob(bytes).await.unwrap();
    let config = Bytes::from(format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    ));
    let digest = kiln_oci::Digest::sha256(&config);
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = kiln_oci::Manifest {
        schema_version: 2,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        config: Descriptor::new(config_type, digest, config.len() as u64),
        layers: vec![layer],
        annotations: BTreeMap::new(),
    };
    let manifest = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    let images = Images::of(store);
    let name: Reference = "frontend".parse().unwrap();

    let apart = images.add(&name, manifest.clone(), config.clone(), &[]).await.unwrap_err();
    assert!(apart.to_string().contains("the config 1, and there are 0 blobs"), "{apart}");
    let other = images.add(&name, manifest.clone(), "[]".into(), &[]).await.unwrap_err();
    assert_eq!(other.to_string(), "the config does not decode");
    let other = Bytes::from([b" ", &config[..]].concat());
    let other = images.add(&name, manifest.clone(), other, &[]).await.unwrap_err();
    assert!(other.to_string().contains("the manifest wants config"), "{other}");
    assert!(images.find(&name).is_none());

    let digest = images.add(&name, manifest.clone(), config.clone(), &[blob]).await.unwrap();
    let root = images.find(&name).unwrap().descriptor;
    assert_eq!(root.digest, digest);
    for pinned in ["frontend", "frontend:latest", "docker.io/library/frontend"] {
        let pinned = format!("{pinned}@{digest}").parse().unwrap();
        assert!(images.find(&pinned).is_some(), "{pinned}");
    }
    for not_it in [format!("front@{digest}"), format!("frontend@{diff_id}")] {
        assert!(images.find(&not_it.parse().unwrap()).is_none(), "{not_it}");
    }
    let (_, files) = &images.find(&name).unwrap().refs(store).unwrap()[0];
    let mounted = files.as_ref().unwrap().ready().unwrap().mount().await.unwrap();
    assert_eq!(fs::read_to_string(mounted.path().join("frontend")).unwrap(), "hello");
}

#[tokio::test]
async fn layers_of_a_pulled_base_are_taken_over_from_where_they_were_pulled() {
    if !is_root() {
        return;
    }
    let server = ScriptedServer::start(|request| match request.method.as_str() {
        "HEAD" => ScriptedAnswer::new(404, ""),
        "POST" if request.target.contains("mount=") => ScriptedAnswer::new(201, ""),
        "POST" => ScriptedAnswer::new(202, "").with("Location", "/v2/upload"),
        _ => ScriptedAnswer::new(201, ""),
    })
    .unwrap();
    let fixture = Fixture::new();
    let base = fixture.layer(None, &[("base", "1")]).await;
    let store = &fixture.context.store;
    let nobody = Requester::nobody();
    let mut layers =
        store.layer_blobs(&base, Compression::default(), &nobody, &|_| {}).await.unwrap();
    let mut pulled = layers.remove(0);
    let key = format!("containerd.io/distribution.source.{}", server.host());
    pulled.descriptor.annotations.insert(key, "library/base".into());
    let base = store.apply(None, &pulled).await.unwrap();
    let files = fixture.layer(Some(&base), &[("own", "2")]).await;
    let name = format!("{}/team/app:1", server.host());
    let attributes = [("name", name.as_str()), ("push", "true")];
    fixture.export(&BuildResult::single(Some(files)), "image", &attributes).await.unwrap();
    let digest = pulled.descriptor.digest.as_str().replace(':', "%3A");
    let mount = format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=library%2Fbase");
    let asked = server.asked();
    assert!(asked.contains(&mount), "{asked:?}");
    let put = |line: &&String| line.starts_with("PUT") && line.contains(&digest);
    assert_eq!(asked.iter().filter(put).count(), 0, "{asked:?}");
}
