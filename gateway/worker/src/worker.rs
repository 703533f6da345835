//! One machine: what it is made of, and which operator answers for which vertex.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_container::{Containers, failed, files, requester};
use kiln_engine::{ErrorKind, JobContext, OpError, Operator, Operators};
use kiln_executor::Spawner;
use kiln_graph::{Op, Vertex};
use kiln_handle::Handle;
use kiln_oci::{Descriptor, Digest, Platform};
use kiln_session::SessionManager;
use kiln_sources::{Clients, Context, NamedImages, Pin, Sources};
use kiln_store::{BlobProvider, Kind, Providers, RecordInfo, Ref, Requester, Store};

use crate::exec_op::ExecOperator;
use crate::file_op::FileOperator;
use crate::host_command::SpawnedCommand;
use crate::merge_diff_op::MergeDiffOperator;
use crate::pinned::Pinned;
use crate::source_op::SourceOperator;

/// What a worker is made of.
pub struct WorkerParts {
    /// Where results are kept.
    pub store: Store,
    /// What prepares and runs processes.
    pub containers: Containers,
    /// What starts programs of the host, such as git.
    pub spawner: Spawner,
    /// The registry client.
    pub registry: kiln_registry::Registry,
    /// The images that have names in the store.
    pub images: Arc<dyn NamedImages>,
    /// The clients.
    pub sessions: SessionManager,
    /// What the worker says about itself.
    pub info: WorkerInfo,
    /// Variables of the host that its programs get: PATH and proxies.
    pub host_env: Vec<(String, String)>,
}

/// What a worker says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its id, the same after every restart.
    pub id: String,
    /// Labels, such as the kind of executor.
    pub labels: BTreeMap<String, String>,
    /// What it is to say that it runs, native first; what the machine runs, if there is nothing.
    pub platforms: Vec<Platform>,
}

impl WorkerInfo {
    /// The platform of what names none: the first that it runs.
    pub fn default_platform(&self) -> Platform {
        self.platforms.first().cloned().unwrap_or_else(Platform::host)
    }
}

/// One machine. Cheap to clone.
#[derive(Clone)]
pub struct Worker(Handle<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) containers: Containers,
    pub(crate) sources: Sources,
    pub(crate) sessions: SessionManager,
    pub(crate) pinned: Pinned,
    pub(crate) info: WorkerInfo,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("info", &self.0.info).finish_non_exhaustive()
    }
}

impl Worker {
    /// Puts a worker together.
    ///
    /// # Errors
    ///
    /// If what its sources remember cannot be opened.
    pub fn new(parts: WorkerParts) -> Result<Self, kiln_sources::OpenError> {
        let commands = Arc::new(SpawnedCommand { spawner: parts.spawner, env: parts.host_env });
        let sources =
            Sources::open(&parts.store, &parts.registry, &parts.sessions, commands, parts.images)?;
        Ok(Self(Handle::new(Inner {
            store: parts.store,
            containers: parts.containers,
            sources,
            sessions: parts.sessions,
            pinned: Pinned::default(),
            info: parts.info,
        })))
    }

    /// What the worker says about itself.
    pub fn info(&self) -> &WorkerInfo {
        self.0.info()
    }

    /// The platforms that it runs, native first.
    pub fn platforms(&self) -> Vec<Platform> {
        match &self.0.info.platforms[..] {
            [] => self.0.containers.platforms(),
            said => said.to_vec(),
        }
    }

    /// Where its results are.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What prepares and runs its processes, those that are no steps included.
    pub fn containers(&self) -> &Containers {
        &self.0.containers
    }

    /// Its sources, for questions that fetch nothing.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// What a source of a running build was resolved to, by the id of its vertex.
    pub fn pinned(&self, vertex: &Digest) -> Option<Arc<Pin>> {
        self.0.pinned.get(vertex)
    }

    /// The clients.
    pub fn sessions(&self) -> &SessionManager {
        &self.0.sessions
    }
}

impl Inner {
    /// What the worker says about itself.
    pub(crate) fn info(&self) -> &WorkerInfo {
        &self.info
    }

    /// The clients of a vertex.
    pub(crate) fn clients(&self, job: &JobContext) -> Clients {
        Clients::new(&self.sessions, job.sessions.ids())
    }

    /// What sources may use for a vertex.
    pub(crate) fn context(&self, job: &JobContext) -> Context {
        Context {
            session: Arc::new(self.clients(job)),
            progress: job.progress.clone(),
            vertex: job.vertex.clone(),
            compatibility: job.compatibility,
        }
    }
}

#[async_trait]
impl Operators<Ref> for Worker {
    fn operator(&self, vertex: &Arc<Vertex>) -> Result<Arc<dyn Operator<Ref>>, OpError> {
        let (worker, vertex) = (self.0.clone(), Arc::clone(vertex));
        Ok(match &vertex.op {
            Op::Source(_) => Arc::new(SourceOperator::new(worker, vertex)),
            Op::Exec(_) => Arc::new(ExecOperator::new(worker, vertex)),
            Op::File(_) => Arc::new(FileOperator::new(worker, vertex)),
            Op::Merge(_) | Op::Diff { .. } | Op::Passthrough { .. } => {
                Arc::new(MergeDiffOperator::new(worker, vertex))
            }
            Op::Build(_) => {
                let message = "nested builds (BuildOp) are not supported by this worker";
                return Err(OpError::new(ErrorKind::Unsupported, message));
            }
        })
    }

    async fn save(&self, vertex: &Vertex, results: &[Ref]) -> Result<Vec<String>, OpError> {
        let mut saved = Vec::with_capacity(results.len());
        for result in results {
            if !result.is_kept() {
                let info = RecordInfo { kind: Kind::Regular, description: vertex.name.clone() };
                result.keep(info).await.map_err(|error| failed(&error))?;
            }
            saved.push(result.id().to_owned());
        }
        Ok(saved)
    }

    async fn load(&self, job: &JobContext, saved: &str) -> Option<Ref> {
        let known = KnownLayers { worker: &self.0, job };
        let found = match self.0.store.load_lazy(saved, &known).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(saved, %error, "a cached result is gone");
                return None;
            }
        };
        if found.is_doubtful()
            && let Err(error) = found.files(&requester(job)).await
        {
            tracing::debug!(saved, %error, "a cached result cannot be had any more");
            return None;
        }
        Some(found)
    }
}

impl Worker {
    /// Those who have layers that earlier builds have pulled: the registries they are from.
    pub fn layers(&self) -> Arc<dyn Providers> {
        self.0.sources.layers()
    }
}

/// Who has layers of a saved result, as far as this build knows.
struct KnownLayers<'a> {
    worker: &'a Inner,
    job: &'a JobContext,
}

#[async_trait]
impl Providers for KnownLayers<'_> {
    async fn find(&self, blob: &Descriptor) -> Vec<Arc<dyn BlobProvider>> {
        let mut known = vec![self.worker.sources.layers()];
        // A build may name an image otherwise than the one that has pulled it, and may only have it
        // from where it names it.
        let context = self.worker.context(self.job);
        let pins = self.worker.pinned.all();
        known.extend(pins.iter().filter_map(|pin| self.worker.sources.layers_of(pin, &context)));
        let mut found = Vec::new();
        for layers in known {
            found.extend(layers.find(blob).await);
        }
        found
    }
}

/// A directory that is looked at: the path, or nothing for the empty file system.
pub(crate) fn view<'a>(
    result: Option<&'a Ref>,
    requester: &'a Requester,
) -> BoxFuture<'a, Result<Option<kiln_store::Mounted>, OpError>> {
    Box::pin(async move {
        match files(result, requester).await? {
            None => Ok(None),
            Some(files) => files.mount().await.map(Some).map_err(|error| failed(&error)),
        }
    })
}

/// The path of a view.
pub(crate) fn path_of(view: Option<&kiln_store::Mounted>) -> Option<&Path> {
    view.map(kiln_store::Mounted::path)
}

/// An owned path, for work on another thread.
pub(crate) fn owned(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_owned)
}
