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
        Self { config, layers: Vec::new() }
    }

    /// A small system: the tester's own busybox, with a shell and a few users.
    ///
    /// # Panics
    ///
    /// If there is no busybox; a [`Registry`] is only started if there is.
    pub fn busybox(config: ImageConfig) -> Self {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|p| fs::read(p).ok());
        let busybox = busybox.expect("busybox is installed");
        let names: Vec<String> = APPLETS.iter().map(|applet| format!("bin/{applet}")).collect();
        let mut entries = vec![
            Entry::Directory("bin/"),
            Entry::Directory("etc/"),
            Entry::Directory("tmp/"),
            // Where runtimes mount; some leave these behind where there is none.
            Entry::Directory("dev/"),
            Entry::Directory("proc/"),
            Entry::Directory("sys/"),
            Entry::File("bin/busybox", 0o755, 0, &busybox),
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
        Self::empty(config).layer(tar(&entries))
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
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("failed to make a directory");
        let blob = |media: &str, content: &[u8]| -> Value {
            let digest = sha256(content);
            fs::write(blobs.join(&digest), content).expect("failed to write a blob");
            let media = format!("application/vnd.oci.image.{media}");
            json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": content.len()})
        };
        let write = |name: &str, value: &Value| {
            fs::write(directory.join(name), value.to_string()).expect("failed to write a file");
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| blob("layer.v1.tar", layer)).collect();
        let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": architecture(),
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
        let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        write("index.json", &json!({"schemaVersion": 2, "manifests": [manifest]}));
        write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
    }

    /// Pushes it under a name such as `library/ubuntu:22.04`, and gives its whole reference.
    ///
    /// # Panics
    ///
    /// If the registry does not take it.
    pub fn push(&self, registry: &Registry, name: &str) -> String {
        let layout = tempfile::tempdir().expect("failed to make a directory");
        self.write_layout(layout.path());
        let reference = registry.reference(name);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        command.arg(format!("oci:{}:latest", layout.path().display()));
        command.arg(format!("docker://{reference}"));
        // Its settings and logins are the tester's.
        command.env("HOME", layout.path()).env_remove("XDG_RUNTIME_DIR");
        run(command, b"", Duration::from_secs(60)).succeeds();
        reference
    }
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
