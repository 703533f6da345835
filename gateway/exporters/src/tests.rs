//! Exports of real refs: to a double of the client, to a real registry, past real readers.
//!
//! Shared here: a store in a temporary directory, results made in it, and what the client got.

mod archives;
mod attestations;
mod directories;
mod faults;
mod registries;
mod sessions;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kiln_frontend::{BuildResult, Refs, keys};
use kiln_oci::{Descriptor, Platform};
use kiln_progress::{Progress, Receiver};
use kiln_registry::{Hosts, NoCredentials, Registry};
use kiln_store::{Ref, Store, StoreOptions};
use tempfile::TempDir;

use crate::{
    BodyStream, Client, ClientError, DirectoryToSend, Export, ExportContext, ExportError, export,
};

/// The clock of all tests, 2024-01-02 03:04:05.
fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_164_645)
}

/// A client that writes down what it gets.
#[derive(Debug, Default)]
struct Double {
    streams: Mutex<Vec<(String, Vec<u8>)>>,
    directories: Mutex<Vec<(DirectoryToSend, Vec<String>)>>,
    /// The digests of blobs, in order, and their bytes.
    blobs: Mutex<Vec<(Descriptor, Vec<u8>)>>,
    /// Refuses every stream.
    refuses: bool,
    /// Never takes a stream to its end.
    hangs: bool,
}

#[async_trait]
impl Client for Double {
    async fn send_stream(
        &self,
        export: &str,
        _metadata: &BTreeMap<String, String>,
        body: BodyStream,
    ) -> Result<(), ClientError> {
        if self.refuses {
            return Err("no".into());
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let bytes = body.try_collect::<Vec<Bytes>>().await?.concat();
        self.streams.lock().unwrap().push((export.to_owned(), bytes));
        Ok(())
    }

    async fn send_dir(
        &self,
        _export: &str,
        directory: DirectoryToSend,
        progress: Box<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), ClientError> {
        let mut found = Vec::new();
        list(&directory.path, Path::new(""), &mut found);
        progress(found.len() as u64);
        self.directories.lock().unwrap().push((directory, found));
        Ok(())
    }

    async fn store_blob(
        &self,
        descriptor: &Descriptor,
        body: BodyStream,
    ) -> Result<(), ClientError> {
        let bytes = body.try_collect::<Vec<Bytes>>().await?.concat();
        self.blobs.lock().unwrap().push((descriptor.clone(), bytes));
        Ok(())
    }
}

fn list(root: &Path, below: &Path, found: &mut Vec<String>) {
    let mut names: Vec<_> =
        fs::read_dir(root.join(below)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = below.join(name);
        found.push(path.display().to_string());
        if root.join(&path).is_dir() && !root.join(&path).is_symlink() {
            list(root, &path, found);
        }
    }
}

struct Fixture {
    context: ExportContext,
    client: Arc<Double>,
    progress: Receiver,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with_client(Double::default())
    }

    fn with_client(client: Double) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), StoreOptions::default()).unwrap();
        let (sender, progress) = kiln_progress::channel();
        let client = Arc::new(client);
        let context = ExportContext {
            store,
            client: Some(client.clone()),
            session: "session".into(),
            registry: Registry::new(Hosts::default(), kiln_registry::Options::default()),
            credentials: Arc::new(NoCredentials),
            progress: sender,
            platform: platform("linux/amd64"),
            clock,
            claims: BTreeMap::new(),
            inline_cache: None,
        };
        Self { context, client, progress, directory }
    }

    /// A ref of one more layer, with these files.
    async fn layer(&self, parent: Option<&Ref>, files: &[(&str, &str)]) -> Ref {
        let parent = parent.map(|parent| parent.ready().unwrap());
        let writable = self.context.store.prepare(parent.as_ref()).await.unwrap();
        let mounted = writable.mount().await.unwrap();
        for (path, content) in files {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        drop(mounted);
        writable.commit().await.unwrap()
    }

    async fn two_layers(&self) -> Ref {
        let base = self.layer(None, &[("etc/os-release", "ID=kiln\n"), ("old", "x")]).await;
        self.layer(Some(&base), &[("app/run", "#!/bin/sh\n")]).await
    }

    async fn export(
        &self,
        result: &BuildResult<Ref>,
        kind: &str,
        attributes: &[(&str, &str)],
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let exports = [Export::parse("0", kind, &attributes.collect())?];
        Ok(export(&exports, result, &self.context).await?.response)
    }

    /// The only stream the client got.
    fn stream(&self) -> Vec<u8> {
        let mut streams = self.client.streams.lock().unwrap();
        assert_eq!(streams.len(), 1);
        streams.pop().unwrap().1
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The ids of the statuses so far, each once, and the errors of vertices.
    fn told(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut statuses, mut errors) = (Vec::new(), Vec::new());
        while let Ok(progress) = self.progress.try_recv() {
            match progress {
                Progress::Status(status) if status.completed.is_none() => statuses.push(status.id),
                Progress::Vertex(vertex) if vertex.completed.is_some() => errors.push(vertex.error),
                _ => {}
            }
        }
        (statuses, errors)
    }
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// A result for several platforms.
fn by_platform(list: &[(&str, Option<Ref>)]) -> BuildResult<Ref> {
    let entries = list.iter().map(|(id, _)| {
        let platform = serde_json::to_string(&platform(id)).unwrap();
        format!(r#"{{"ID":"{id}","Platform":{platform}}}"#)
    });
    let platforms = format!(r#"{{"Platforms":[{}]}}"#, entries.collect::<Vec<_>>().join(","));
    let refs = list.iter().map(|(id, files)| ((*id).to_owned(), files.clone()));
    BuildResult {
        refs: Refs::ByPlatform(refs.collect()),
        metadata: BTreeMap::from([(keys::PLATFORMS.to_owned(), platforms.into())]),
        attestations: BTreeMap::new(),
    }
}

/// Runs a program; its output, or `None` if it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report_skip(program);
            return None;
        }
        output => output.unwrap(),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn report_skip(what: &str) {
    eprintln!("skipped: needs {what}");
}

/// Overlay mounts need root, in the machine's or in some user namespace.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        report_skip("root");
    }
    root
}

/// The entries of a tar: names, and contents by name.
fn untar(bytes: &[u8]) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
    let mut archive = tar::Archive::new(bytes);
    let (mut names, mut contents) = (Vec::new(), BTreeMap::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        names.push(name.clone());
        contents.insert(name, content);
    }
    (names, contents)
}
