//! Stories about sources, with real servers: `docker-registry`, `git daemon`, and scripted HTTP.

mod blob;
mod clients;
mod git;
mod http;
mod image;
mod local;
mod named;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use kiln_graph::{Identifier, LocalSource};
use kiln_oci::{Digest, Platform, Reference};
use kiln_progress::Progress;
use kiln_registry::{Credentials, Hosts, NoCredentials, Options, Registry, StaticCredentials};
use kiln_session::SessionManager;
use kiln_store::{Ref, Store, StoreOptions};
use tempfile::TempDir;

use crate::source::Cause;
use crate::{
    AgentSocket, ByteStream, Command, Context, HostCommand, ImageError, NamedImage, NamedImages,
    Origin, Output, Pin, Session, SourceError, Sources,
};

/// A worker's sources over a store of their own.
struct Room {
    directory: TempDir,
    store: Store,
    images: Arc<Images>,
    sources: Sources,
    session: Arc<Client>,
    context: Context,
    progress: kiln_progress::Receiver,
}

impl Room {
    fn new() -> Self {
        Self::with(Client::default())
    }

    fn with(client: Client) -> Self {
        Self::at(tempfile::tempdir().unwrap(), client)
    }

    fn at(directory: TempDir, client: Client) -> Self {
        let store = Store::open(&directory.path().join("store"), StoreOptions::default()).unwrap();
        let retry_delays = [10, 10].map(Duration::from_millis).into();
        let options = Options { retry_delays, ..Options::default() };
        let registry = Registry::new(Hosts::default(), options);
        let images = Arc::<Images>::default();
        let sessions = SessionManager::default();
        let commands = Arc::new(Processes);
        let sources =
            Sources::open(&store, &registry, &sessions, commands, images.clone()).unwrap();
        let (sender, progress) = kiln_progress::channel();
        let session = Arc::new(client);
        let context = Context {
            session: session.clone(),
            progress: sender,
            vertex: Digest::sha256("v"),
            compatibility: Some(0),
        };
        Self { directory, store, images, sources, session, context, progress }
    }

    /// The same store after a restart.
    fn restarted(self, client: Client) -> Self {
        let Self { directory, store, sources, context, .. } = self;
        drop((sources, store, context));
        Self::at(directory, client)
    }

    async fn pin(&self, identifier: &Identifier) -> Result<Pin, SourceError> {
        self.sources.pin(identifier, &platform(), &self.context).await
    }

    /// Fetches the content and looks into it.
    async fn fetch(&self, identifier: &Identifier, pin: &Pin) -> Result<Ref, SourceError> {
        let fetched = self.fetch_lazy(identifier, pin).await?;
        fetched.files(&self.context.requester()).await.map_err(ImageError::from)?;
        Ok(fetched)
    }

    async fn fetch_lazy(&self, identifier: &Identifier, pin: &Pin) -> Result<Ref, SourceError> {
        let fetched = self.sources.fetch(identifier, pin, &self.context).await?;
        Ok(fetched.expect("the source has content"))
    }

    async fn get(&self, identifier: &Identifier) -> Result<Ref, SourceError> {
        let pin = self.pin(identifier).await?;
        self.fetch(identifier, &pin).await
    }

    /// The names of all parts that ended since the last call.
    fn parts(&mut self) -> Vec<String> {
        let mut parts = Vec::new();
        while let Ok(progress) = self.progress.try_recv() {
            if let Progress::Status(status) = progress
                && status.completed.is_some()
            {
                parts.push(status.id);
            }
        }
        parts
    }
}

/// The images that have names in the store.
#[derive(Default)]
struct Images(Mutex<BTreeMap<Reference, NamedImage>>);

impl NamedImages for Images {
    fn find(&self, reference: &Reference) -> Option<NamedImage> {
        let images = self.0.lock().unwrap();
        let same = |(name, image): &(&Reference, &NamedImage)| {
            name.name() == reference.name() && reference.digest() == Some(&image.root.digest)
        };
        let found = images.get(reference);
        found.or_else(|| images.iter().find(same).map(|(_, image)| image)).cloned()
    }
}

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// An identifier as it travels.
fn identifier(text: &str, attrs: &[(&str, &str)]) -> Identifier {
    let attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Identifier::parse(text, &attrs).unwrap()
}

/// Every path below the root of a ref, with what is there.
async fn tree(content: &Ref) -> BTreeMap<String, String> {
    let mounted = content.ready().unwrap().mount().await.unwrap();
    let mut entries = BTreeMap::new();
    walk(mounted.path(), "", &mut entries);
    entries
}

fn walk(directory: &Path, prefix: &str, entries: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let mode = metadata.mode() & 0o7777;
        if metadata.is_dir() {
            walk(&entry.path(), &format!("{name}/"), entries);
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            entries.insert(name, format!("-> {}", target.display()));
        } else {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            entries.insert(name, format!("{mode:o} {text}"));
        }
    }
}

/// A file of those that show signatures.
fn signature(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../signatures/fixtures").join(name)
}

/// A client in memory.
#[derive(Default)]
struct Client {
    secrets: BTreeMap<String, String>,
    asked: Mutex<Vec<String>>,
    layout: BTreeMap<Digest, Bytes>,
    files: Mutex<BTreeMap<String, String>>,
    fails: Mutex<bool>,
    uploads: Mutex<BTreeMap<String, Bytes>>,
    login: Mutex<Option<StaticCredentials>>,
}

impl Client {
    fn with_secrets(secrets: &[(&str, &str)]) -> Self {
        let secrets = secrets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { secrets, ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &'static str {
        "session-1"
    }

    async fn shared_key(&self, _: &str) -> String {
        "this machine".to_owned()
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Cause> {
        self.asked.lock().unwrap().push(id.to_owned());
        Ok(self.secrets.get(id).map(|secret| secret.clone().into_bytes()))
    }

    fn credentials(&self) -> Arc<dyn Credentials> {
        match self.login.lock().unwrap().clone() {
            Some(login) => Arc::new(login),
            None => Arc::new(NoCredentials),
        }
    }

    async fn ssh_agent(&self, id: &str) -> Result<AgentSocket, Cause> {
        Err(format!("no SSH key {id:?} forwarded from the client").into())
    }

    fn layout_blob(&self, session: &str, store: &str, digest: &Digest, offset: u64) -> ByteStream {
        assert_eq!((session, store), ("", "my-layout"));
        let blob = match self.layout.get(digest) {
            Some(bytes) => Ok(bytes.slice(usize::try_from(offset).unwrap()..)),
            None => Err(format!("{digest}: not found").into()),
        };
        Box::pin(stream::iter([blob]))
    }

    fn upload(&self, host: &str, path: &str) -> ByteStream {
        self.asked.lock().unwrap().push(format!("{host}{path}"));
        let upload = self.uploads.lock().unwrap().remove(path);
        let upload = upload.ok_or_else(|| format!("nothing is uploaded at {path}").into());
        Box::pin(stream::iter([upload]))
    }

    async fn receive(
        &self,
        source: &LocalSource,
        destination: &Path,
        _: &Origin,
        received: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Origin, Cause> {
        let files = self.files.lock().unwrap().clone();
        let mut bytes = 0;
        for (name, text) in files {
            self.asked.lock().unwrap().push(format!("{}:{name}", source.name));
            fs::write(destination.join(name), &text)?;
            bytes += text.len() as u64;
            received(bytes);
        }
        match *self.fails.lock().unwrap() {
            true => Err("the client is gone".into()),
            false => Ok(Origin::default()),
        }
    }
}

/// Programs of this machine.
struct Processes;

#[async_trait]
impl HostCommand for Processes {
    async fn run(&self, command: Command) -> io::Result<Output> {
        let mut process = tokio::process::Command::new(&command.argv[0]);
        process.args(&command.argv[1..]).env_clear().envs(command.env).current_dir(command.cwd);
        process.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        process.stdin(Stdio::null()).kill_on_drop(true);
        let output = process.output().await?;
        let status = output.status.code();
        Ok(Output { status, stdout: output.stdout, stderr: output.stderr })
    }
}

/// The whole chain of causes of an error.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(here) = cause {
        text += &format!(": {here}");
        cause = here.source();
    }
    text
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(needs: &str) {
    eprintln!("skipped: needs {needs}");
}
