//! The root of a frontend's image, on disk, and how the frontend in it is started.
//!
//! The daemon fetches and unpacks the image like any other: it builds the shortest file there is of a
//! language that is linked in, `from: IMAGE`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use kiln_oci::{Digest, ImageConfig, Index, Manifest};
use kiln_testing::Executable;
use tempfile::TempDir;

use super::Context;
use crate::args::BuildArgs;
use crate::commands::build;

/// The language that says `FROM` here.
const LANGUAGE: &str = "mockerfile.v0";
const FILE: &str = "Mockerfile.yaml";
/// A document of an image that is longer than this is none.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// An image's files, which are removed on drop.
pub(super) struct ImageRoot {
    directory: TempDir,
    config: ImageConfig,
}

impl ImageRoot {
    /// Fetches an image.
    ///
    /// # Errors
    ///
    /// If the daemon cannot, or says nothing of the image's config.
    pub(super) async fn fetch(context: &Context, image: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let place = |name: &str| directory.path().join(name);
        let text = format!(
            "apiVersion: v1alpha1\nimages:\n- name: frontend\n  from: {}\n",
            serde_json::Value::from(image)
        );
        std::fs::write(place(FILE), text).context("failed to write to a temporary directory")?;
        let source = directory.path().display();
        let args = BuildArgs {
            frontend: Some(LANGUAGE.to_owned()),
            local: vec![format!("context={source}"), format!("dockerfile={source}")],
            output: vec![
                format!("type=local,dest={}", place("root").display()),
                format!("type=oci,dest={}", place("image.tar").display()),
            ],
            progress: Some("quiet".to_owned()),
            ..BuildArgs::default()
        };
        build::run(context, args).await.map_err(|error| {
            // The lines below the first show a file that the user has never seen.
            let story = format!("{error:#}");
            anyhow!("failed to fetch {image}: {}", story.lines().next().unwrap_or_default())
        })?;
        let config =
            read_config(&place("image.tar")).context("failed to read the image's config")?;
        Ok(Self { directory, config })
    }

    /// The frontend of the image, started in its root.
    ///
    /// # Errors
    ///
    /// If the image starts nothing.
    pub(super) fn frontend(&self) -> anyhow::Result<Executable> {
        let run = &self.config.config;
        let command: Vec<&String> =
            run.entrypoint.iter().flatten().chain(run.cmd.iter().flatten()).collect();
        if command.is_empty() {
            bail!("the image has no entrypoint: it is no frontend");
        }
        let own = std::env::current_exe().context("failed to find this program")?;
        let directory = match run.working_dir.as_str() {
            "" => "/",
            directory => directory,
        };
        let way: [OsString; 4] =
            [own.into(), "chroot".into(), self.root().into(), directory.into()];
        let program = command.into_iter().map(OsString::from);
        let frontend = Executable::command(way.into_iter().chain(program));
        let variables = run.env.iter().filter_map(|variable| variable.split_once('='));
        Ok(variables.fold(frontend, |frontend, (name, value)| frontend.environment(name, value)))
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }
}

/// The config of the only image of an OCI archive.
fn read_config(archive: &Path) -> anyhow::Result<ImageConfig> {
    let documents =
        read_documents(archive).with_context(|| format!("failed to read {}", archive.display()))?;
    let document =
        |name: &str| documents.get(name).with_context(|| format!("the archive has no {name}"));
    let blob = |digest: &Digest| document(&format!("blobs/sha256/{}", digest.hex()));
    let index: Index = serde_json::from_slice(document("index.json")?)?;
    let manifest = index.manifests.first().context("the archive is empty")?;
    let manifest: Manifest = serde_json::from_slice(blob(&manifest.digest)?)?;
    Ok(serde_json::from_slice(blob(&manifest.config.digest)?)?)
}

/// What in an archive is small enough to be a document.
fn read_documents(archive: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(std::fs::File::open(archive)?);
    let mut documents = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.size() <= MAX_DOCUMENT_BYTES {
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            documents.insert(name, bytes);
        }
    }
    Ok(documents)
}
