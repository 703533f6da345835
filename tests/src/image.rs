//! Images to start from: a config and layers, written as an OCI layout and pushed to a registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::archive::{Entry, tar};
use crate::{Registry, run};

/// How an image is run; what a build inherits.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The program.
    pub entrypoint: Vec<String>,
    /// Its arguments.
    pub cmd: Vec<String>,
    /// Where it runs.
    pub working_dir: String,
    /// As whom.
    pub user: String,
    /// What is known of the image.
    pub labels: BTreeMap<String, String>,
}

/// An image in memory.
#[derive(Clone, Debug)]
pub struct Image {
    config: ImageConfig,
    architecture: String,
    layers: Vec<Vec<u8>>,
}

/// What the busybox image can do, besides what its shell does by itself.
const APPLETS: &[&str] = &[
    "sh",
    "cat",
    "chmod",
    "chown",
    "cp",
    "date",
    "dd",
    "env",
    "grep",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "stat",
    "tail",
    "tar",
    "touch",
    "wc",
    "yes",
    "false",
    "true",
];

/// Debian's busybox has none.
const INSTALL: &[u8] = b"#!/bin/sh\nset -e\ncp \"$1\" \"$2\"\nchmod 755 \"$2\"\n";

impl Image {
    /// An image without any file.
    pub fn empty(config: ImageConfig) -> Self {
        Self { config, architecture: architecture().to_owned(), layers: Vec::new() }
    }

    /// A small system: the tester's own busybox, with a shell and a few users.
    ///
    /// # Panics
    ///
    /// If there is no busybox; a [`Registry`] is only started if there is.
    pub fn busybox(config: ImageConfig) -> Self {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|p| fs::read(p).ok());
        Self::busybox_for(config, architecture(), &busybox.expect("busybox is installed"))
    }

    /// The same for another architecture, with a busybox for it.
    pub fn busybox_for(config: ImageConfig, architecture: &str, busybox: &[u8]) -> Self {
        let names: Vec<String> = APPLETS.iter().map(|applet| format!("bin/{applet}")).collect();
        let mut entries = vec![
            Entry::Directory("bin/"),
            Entry::Directory("etc/"),
            Entry::Directory("tmp/"),
            // Where runtimes mount; some leave these behind where there is none.
            Entry::Directory("dev/"),
            Entry::Directory("proc/"),
            Entry::Directory("sys/"),
            Entry::File("bin/busybox", 0o755, 0, busybox),
            Entry::File("bin/install", 0o755, 0, INSTALL),
            Entry::File(
                "etc/passwd",
                0o644,
                0,
                b"root:x:0:0::/:/bin/sh\nbuilder:x:1000:1000::/:/bin/sh\n",
            ),
            Entry::File("etc/group", 0o644, 0, b"root:x:0:\nbuilder:x:1000:\n"),
        ];
        entries.extend(names.iter().map(|name| Entry::Link(name, "busybox")));
        let image = Self { architecture: architecture.to_owned(), ..Self::empty(config) };
        image.layer(tar(&entries))
    }

    /// The same with another layer, a tar archive.
    #[must_use]
    pub fn layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Writes it as an OCI layout under the tag `latest`.
    ///
    /// # Panics
    ///
    /// If the directory cannot be written.
    pub fn write_layout(&self, directory: &Path) {
        let manifest = self.write_blobs(directory);
        write_index(directory, manifest);
    }

    /// Writes its blobs, and gives the descriptor of its manifest.
    fn write_blobs(&self, directory: &Path) -> Value {
        let blob = |media: &str, content: &[u8]| write_blob(directory, media, content);
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| blob("layer.v1.tar", layer)).collect();
        let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("config.v1+json", config.to_string().as_bytes()),
            "layers": layers,
        });
        blob("manifest.v1+json", manifest.to_string().as_bytes())
    }

    /// Pushes it under a name such as `library/ubuntu:22.04`, and gives its whole reference.
    ///
    /// # Panics
    ///
    /// If the registry does not take it.
    pub fn push(&self, registry: &Registry, name: &str) -> String {
        let layout = tempfile::tempdir().expect("failed to make a directory");
        self.write_layout(layout.path());
        push_layout(layout.path(), registry, name)
    }

    /// Pushes several, one for each architecture, as one.
    ///
    /// # Panics
    ///
    /// If the registry does not take it.
    pub fn push_all(images: &[Self], registry: &Registry, name: &str) -> String {
        let layout = tempfile::tempdir().expect("failed to make a directory");
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut manifest = image.write_blobs(layout.path());
                manifest["platform"] = json!({"os": "linux", "architecture": image.architecture});
                if image.architecture == "arm" {
                    manifest["platform"]["variant"] = json!("v7");
                }
                manifest
            })
            .collect();
        let media = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media, "manifests": manifests});
        let index = write_blob(layout.path(), "index.v1+json", index.to_string().as_bytes());
        write_index(layout.path(), index);
        push_layout(layout.path(), registry, name)
    }
}

fn push_layout(layout: &Path, registry: &Registry, name: &str) -> String {
    let reference = registry.reference(name);
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"]);
    command.arg(format!("oci:{}:latest", layout.display()));
    command.arg(format!("docker://{reference}"));
    // Its settings and logins are the tester's.
    command.env("HOME", layout).env_remove("XDG_RUNTIME_DIR");
    run(command, b"", Duration::from_secs(60)).succeeds();
    reference
}

/// Writes a blob of a layout, and gives its descriptor.
fn write_blob(layout: &Path, media: &str, content: &[u8]) -> Value {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("failed to make a directory");
    let digest = sha256(content);
    fs::write(blobs.join(&digest), content).expect("failed to write a blob");
    let media = format!("application/vnd.oci.image.{media}");
    json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": content.len()})
}

/// Writes what makes blobs a layout, with one of them as `latest`.
fn write_index(layout: &Path, mut latest: Value) {
    let write = |name: &str, value: &Value| {
        fs::write(layout.join(name), value.to_string()).expect("failed to write a file");
    };
    latest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    write("index.json", &json!({"schemaVersion": 2, "manifests": [latest]}));
    write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
}

/// A digest in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
