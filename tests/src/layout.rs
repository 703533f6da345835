//! An image as it was exported, read by ourselves and by programs of others.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::run;

const LIMIT: Duration = Duration::from_secs(60);

/// An exported image; its files are removed on drop.
#[derive(Debug)]
pub struct OciImage {
    directory: TempDir,
    /// Digest of the manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The whole config.
    pub config: Value,
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Its permissions.
    pub mode: u32,
    /// Its user and group.
    pub owner: (u64, u64),
    /// What it says; where it leads, for a link.
    pub content: String,
}

impl OciImage {
    /// Opens an archive.
    ///
    /// # Panics
    ///
    /// If it holds no image.
    pub fn open(archive: &Path) -> Self {
        Self::open_for(archive, "")
    }

    /// Opens an archive of images for several platforms, and of these that for an architecture.
    ///
    /// # Panics
    ///
    /// If it holds no such image.
    pub fn open_for(archive: &Path, architecture: &str) -> Self {
        let directory = tempfile::tempdir().expect("failed to make a directory");
        fs::copy(archive, directory.path().join("image.tar")).expect("failed to copy the archive");
        let layout = directory.path().join("layout");
        let file = File::open(archive).expect("the archive was written");
        tar::Archive::new(file).unpack(&layout).expect("it is an archive");
        let index = read_json(&layout.join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().expect("an image").to_owned();
        let mut digest = digest;
        let mut manifest = read_json(&blob(&layout, &digest));
        if let Some(manifests) = manifest["manifests"].as_array() {
            let wanted = |it: &&Value| it["platform"]["architecture"] == architecture;
            let found = manifests.iter().find(wanted).expect("an image of the architecture");
            digest = found["digest"].as_str().expect("an image").to_owned();
            manifest = read_json(&blob(&layout, &digest));
        }
        let config = manifest["config"]["digest"].as_str().expect("a manifest has a config");
        let config = read_json(&blob(&layout, config));
        Self { directory, digest, manifest, config }
    }

    /// How the image is run.
    pub fn run_config(&self) -> &Value {
        &self.config["config"]
    }

    /// The layout as a directory.
    pub fn layout(&self) -> PathBuf {
        self.directory.path().join("layout")
    }

    /// A file, of the topmost layer that has it.
    ///
    /// # Panics
    ///
    /// If a layer cannot be read.
    pub fn file(&self, path: &str) -> Option<ImageFile> {
        let layers = self.manifest["layers"].as_array().expect("a manifest has layers");
        layers.iter().rev().find_map(|layer| self.find(layer, path))
    }

    fn find(&self, layer: &Value, path: &str) -> Option<ImageFile> {
        let digest = layer["digest"].as_str().expect("a layer has a digest");
        let file = File::open(blob(&self.layout(), digest)).expect("the layer is there");
        let media = layer["mediaType"].as_str().unwrap_or_default();
        let reader: Box<dyn Read> =
            if media.ends_with("gzip") { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().expect("a layer is an archive") {
            let mut entry = entry.expect("a layer is whole");
            let name = entry.path().expect("names are paths").into_owned();
            let name = name.strip_prefix(".").unwrap_or(&name);
            if name != Path::new(path.trim_start_matches('/')) {
                continue;
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a layer is whole");
            let link = entry.link_name().expect("links are paths");
            let content = link.map_or_else(
                || String::from_utf8_lossy(&content).into_owned(),
                |target| target.display().to_string(),
            );
            let header = entry.header();
            let number = |result: std::io::Result<u64>| result.expect("headers have numbers");
            return Some(ImageFile {
                mode: header.mode().expect("headers have modes"),
                owner: (number(header.uid()), number(header.gid())),
                content,
            });
        }
        None
    }

    /// What `skopeo inspect` says of the archive.
    ///
    /// # Panics
    ///
    /// If it does not accept it.
    #[track_caller]
    pub fn skopeo_inspect(&self) -> Value {
        let mut command = Command::new("skopeo");
        command.arg("--insecure-policy").arg("inspect");
        command.arg(format!("oci-archive:{}", self.directory.path().join("image.tar").display()));
        let outcome = run(command, b"", LIMIT).succeeds();
        serde_json::from_slice(&outcome.stdout).expect("skopeo answers in JSON")
    }

    /// Unpacks the image with `umoci`, and gives the directory that became its root.
    ///
    /// # Panics
    ///
    /// If it does not accept it.
    #[track_caller]
    pub fn umoci_unpack(&self, tag: &str) -> PathBuf {
        let bundle = self.directory.path().join("bundle");
        let mut command = Command::new("umoci");
        command.args(["unpack", "--image"]);
        command.arg(format!("{}:{tag}", self.layout().display())).arg(&bundle);
        run(command, b"", LIMIT).succeeds();
        bundle.join("rootfs")
    }
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
