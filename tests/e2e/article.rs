//! The article's Mockerfile: Debian, six packages by apt, four downloads, built by the frontend image.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use kiln_tests::archive::{Entry, tar_gz};
use kiln_tests::{
    Debian, Dockerd, ImageConfig, Kiln, Project, Registry, WebServer, archive, has_program,
    is_root, sha256, skip,
};
use serde_json::json;

const TOOL: &[u8] = b"#!/bin/sh\necho \"$0\"\n";

fn mockerfile(registry: &Registry, web: &WebServer) -> Project {
    let entry = |name| Entry::File(name, 0o755, 0, TOOL);
    let kubectl = web.serve("/release/v1.10.0/bin/linux/amd64/kubectl", TOOL);
    let kustomize = tar_gz(&[entry("kustomize")]);
    let checksum = sha256(&kustomize);
    let kustomize = web.serve("/kustomize_v4.5.5_linux_amd64.tar.gz", kustomize);
    let helm = web.serve("/helm-v3.9.1-linux-amd64.tar.gz", tar_gz(&[entry("linux-amd64/helm")]));
    let sdk = web.serve(
        "/google-cloud-sdk-217.0.0-linux-x86_64.tar.gz",
        tar_gz(&[entry("google-cloud-sdk/install.sh")]),
    );
    Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- name: demo
  from: {}
  package:
    install:
    - ca-certificates
    - curl
    - build-essential
    - git
    - gcc
    - lsb-release
  external:
  - src: {kubectl}
    dst: /usr/local/bin/kubectl
  - src: {kustomize}
    dst: /usr/local/bin/kustomize
    sha256: {checksum}
  - src: {helm}
    dst: /tmp/helm
    install:
    - install /tmp/helm/linux-amd64/helm /usr/local/bin/helm
  - src: {sdk}
    dst: /tmp
",
        registry.reference("library/ubuntu:22.04")
    ))
}

#[test]
fn the_articles_mockerfile_becomes_a_real_image_through_gateway_v0() {
    if !is_root() || !has_program("umoci") {
        return skip("root and umoci");
    }
    let Some(registry) = Registry::start() else { return };
    let config = ImageConfig {
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            "LANG=C.UTF-8".into(),
        ],
        cmd: vec!["bash".into()],
        working_dir: "/root".into(),
        user: "nobody".into(),
        labels: [("org.opencontainers.image.version".into(), "22.04".into())].into(),
        ..ImageConfig::default()
    };
    let Some(debian) = Debian::image(config) else { return };
    debian.push(&registry, "library/ubuntu:22.04");
    drop(debian);
    let web = WebServer::start();
    let project = mockerfile(&registry, &web);
    let kiln = Kiln::new().within(Duration::from_secs(300));
    let frontend = super::frontends::pack(&kiln, &registry);
    let build = || kiln.build().of(&project).frontend("gateway.v0").opt("source", &frontend);

    let (image, _) = build().image();
    let config = image.run_config();
    assert_eq!(config["Cmd"], json!(["bash"]));
    assert_eq!(config["WorkingDir"], "/root");
    assert_eq!(config["User"], "nobody");
    assert_eq!(config["Env"][1], "LANG=C.UTF-8");
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], "22.04");
    assert_eq!(image.skopeo_inspect()["Digest"], image.digest.as_str());
    let root = image.umoci_unpack("1");
    for path in ["usr/local/bin/kubectl", "usr/local/bin/kustomize/kustomize", "usr/local/bin/helm"]
    {
        let metadata = fs::metadata(root.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o7777), (0, 0o755), "{path}");
        assert_eq!(fs::read(root.join(path)).unwrap(), TOOL, "{path}");
    }
    for path in
        ["usr/bin/curl", "usr/bin/gcc", "usr/bin/git", "usr/bin/make", "usr/bin/lsb_release"]
    {
        assert!(fs::symlink_metadata(root.join(path)).is_ok(), "{path} is not installed");
    }
    for path in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let left = fs::read_dir(root.join(path)).into_iter().flatten().flatten();
        let left: Vec<_> = left.filter(|entry| entry.path().is_file()).collect();
        assert!(left.is_empty(), "apt left {left:?}");
    }
    assert!(!root.join("var/cache/apt/pkgcache.bin").exists(), "apt left its cache");

    let (again, outcome) = build().image();
    assert_eq!(again.digest, image.digest);
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    let (linked, _) = kiln.mockerfile(&project).image();
    assert_eq!(linked.digest, image.digest);

    docker_takes(&kiln, &project);
}

/// The same image as Docker's daemon sees it.
fn docker_takes(kiln: &Kiln, project: &Project) {
    let Some(docker) = Dockerd::start() else { return };
    let out = kiln.path("docker.tar");
    let build = kiln.mockerfile(project).output("type=docker,name=e2e.test/article:1", &out);
    build.run().succeeds();
    docker.load(&out);
    docker.docker(&["create", "--name=article", "e2e.test/article:1"], b"").succeeds();
    let exported = kiln.path("exported.tar");
    let export = ["export", "--output", &exported.display().to_string(), "article"];
    docker.docker(&export, b"").succeeds();
    let helm = archive::owner_and_mode(&exported, "usr/local/bin/helm").unwrap();
    assert_eq!((helm.0, helm.1 & 0o7777), (0, 0o755));
    assert!(archive::owner_and_mode(&exported, "usr/bin/gcc").is_some());
}
