//! One machine: what it is made of, and which operator answers for which vertex.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiln_engine::{ErrorKind, JobContext, OpError, Operator, Operators};
use kiln_executor::{Executor, Process, Spawner};
use kiln_graph::{Op, ProxyNetwork, Vertex};
use kiln_network::{Captured, Judge, Networks, ProxiedNetwork};
use kiln_oci::{Descriptor, Digest, Platform};
use kiln_session::{CallError, SessionManager};
use kiln_sources::{Clients, ClientsError, Context, NamedImages, Pin, Sources};
use kiln_store::{BlobProvider, Files, Kind, Providers, RecordInfo, Ref, Requester, Store};

use crate::caches::CacheMounts;
use crate::emulators::{EmulatorOptions, Emulators};
use crate::exec_op::ExecOperator;
use crate::file_op::FileOperator;
use crate::host_command::SpawnedCommand;
use crate::merge_diff_op::ComposeOperator;
use crate::pinned::Pinned;
use crate::proxied::{JudgeGuard, Proxies};
use crate::secrets::SecretFiles;
use crate::source_op::SourceOperator;
use crate::steps::Steps;

/// What a worker is made of.
pub struct WorkerParts {
    /// Where results are kept.
    pub store: Store,
    /// What runs processes.
    pub executor: Arc<dyn Executor>,
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
    /// Where specifications of devices are; `None` if no process gets any.
    pub devices: Option<kiln_cdi::Registry>,
    /// The networks of processes that have a proxy; `None` if none can have one.
    pub networks: Option<Networks>,
    /// How long a cancelled process may take to end after SIGTERM, before SIGKILL.
    pub step_grace: Duration,
    /// Where emulators are looked for.
    pub emulators: EmulatorOptions,
    /// Who knows what cache mounts had in them elsewhere; `None` if they all begin empty.
    pub cache_mounts: Option<Arc<dyn CacheMounts>>,
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
pub struct Worker(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) sources: Sources,
    pub(crate) sessions: SessionManager,
    pub(crate) secrets: SecretFiles,
    pub(crate) steps: Steps,
    pub(crate) pinned: Pinned,
    pub(crate) emulators: Emulators,
    pub(crate) info: WorkerInfo,
    pub(crate) devices: Option<kiln_cdi::Registry>,
    pub(crate) proxies: Proxies,
    pub(crate) cache_mounts: Option<Arc<dyn CacheMounts>>,
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
        let emulators = Emulators::new(parts.emulators, parts.spawner.clone());
        let commands = Arc::new(SpawnedCommand { spawner: parts.spawner, env: parts.host_env });
        let sources =
            Sources::open(&parts.store, &parts.registry, &parts.sessions, commands, parts.images)?;
        let secrets = SecretFiles::new(parts.store.root().join("run"));
        Ok(Self(Arc::new(Inner {
            cache_mounts: parts.cache_mounts,
            store: parts.store,
            executor: parts.executor,
            sources,
            sessions: parts.sessions,
            secrets,
            steps: Steps::new(parts.step_grace),
            pinned: Pinned::default(),
            emulators,
            info: parts.info,
            devices: parts.devices,
            proxies: Proxies::new(parts.networks),
        })))
    }

    /// What the worker says about itself.
    pub fn info(&self) -> &WorkerInfo {
        self.0.info()
    }

    /// The platforms that it runs, native first.
    pub fn platforms(&self) -> Vec<Platform> {
        match &self.0.info.platforms[..] {
            [] => self.0.emulators.machine().platforms(),
            said => said.to_vec(),
        }
    }

    /// The name of the program that stands between this machine and the programs of a platform;
    /// nothing, if it runs these itself or not at all.
    pub fn emulator(&self, platform: &Platform) -> Option<String> {
        self.0.emulators.emulator(platform)
    }

    /// Where its results are.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What runs its processes.
    pub fn executor(&self) -> &Arc<dyn Executor> {
        &self.0.executor
    }

    /// Its sources, for questions that fetch nothing.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// What a source of a running build was resolved to, by the id of its vertex.
    pub fn pinned(&self, vertex: &Digest) -> Option<Arc<Pin>> {
        self.0.pinned.get(vertex)
    }

    /// The devices that there are now; `None` if no process gets any.
    pub fn devices(&self) -> Option<kiln_cdi::Devices> {
        self.0.devices.as_ref().map(kiln_cdi::Registry::read)
    }

    /// Lets the requests of steps be decided on that have a proxy and name this judge.
    pub fn answer_for(&self, judge: Arc<dyn Judge>) -> JudgeGuard {
        self.0.proxies.answer_for(judge)
    }

    /// Gives a process that is no step the network of a step that has a proxy, to be held until the process has
    /// ended.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn proxied(
        &self,
        proxy: &ProxyNetwork,
        process: &mut Process,
    ) -> Result<Option<ProxiedNetwork>, OpError> {
        self.0.proxies.connect(Some(proxy), false, process).await
    }

    /// What passed through the proxy of a vertex's step when it ran, if that is known.
    pub fn passed(&self, vertex: &Digest) -> Option<Arc<Captured>> {
        self.0.proxies.passed(vertex)
    }

    /// The clients.
    pub fn sessions(&self) -> &SessionManager {
        &self.0.sessions
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.0)
    }

    /// Waits until no process of a step is left, with all that it used. Cancelled ones count.
    pub async fn steps_ended(&self) {
        self.0.steps.ended().await;
    }

    /// Gives cancelled processes no more time, now and later.
    pub fn end_steps_at_once(&self) {
        self.0.steps.end_at_once();
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
        let (worker, vertex) = (Arc::clone(&self.0), Arc::clone(vertex));
        Ok(match &vertex.op {
            Op::Source(_) => Arc::new(SourceOperator::new(worker, vertex)),
            Op::Exec(_) => Arc::new(ExecOperator::new(worker, vertex)),
            Op::File(_) => Arc::new(FileOperator::new(worker, vertex)),
            Op::Merge(_) | Op::Diff { .. } | Op::Passthrough { .. } => {
                Arc::new(ComposeOperator::new(worker, vertex))
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
        match self.0.store.load_lazy(saved, &known).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::debug!(saved, %error, "a cached result is gone");
                None
            }
        }
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

/// An error of another crate as an operator's.
pub(crate) fn failed(error: &(dyn std::error::Error + 'static)) -> OpError {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let kind = chain.filter_map(kind).next();
    OpError::from_error(kind.unwrap_or(ErrorKind::Failed), error)
}

/// What kind of failure an error is by itself, if it is one that is acted on.
fn kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    if error.to_string().contains("no space left on device") {
        return Some(ErrorKind::Exhausted);
    }
    // Others that share the operation may have a client that is there.
    let is_gone = match error.downcast_ref::<ClientsError>() {
        Some(ClientsError::Session(_)) => true,
        Some(ClientsError::Call(error)) => matches!(error, CallError::Ended(_)),
        None => matches!(error.downcast_ref::<CallError>(), Some(CallError::Ended(_))),
    };
    is_gone.then_some(ErrorKind::Unavailable)
}

/// Runs file work away from the tasks that must answer quickly.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OpError::new(ErrorKind::Failed, format!("internal error: {error}"))),
    }
}

/// For whom files are fetched.
pub(crate) fn requester(job: &JobContext) -> Requester {
    Requester::of(job.sessions.ids(), &job.vertex, &job.progress)
}

/// The files of a result, fetched if they are not here; nothing for the empty file system.
pub(crate) async fn files(
    result: Option<&Ref>,
    requester: &Requester,
) -> Result<Option<Files>, OpError> {
    match result {
        None => Ok(None),
        Some(result) => result.files(requester).await.map(Some).map_err(|error| failed(&error)),
    }
}

/// A directory that is looked at: the path, or nothing for the empty file system.
pub(crate) async fn view(
    result: Option<&Ref>,
    requester: &Requester,
) -> Result<Option<kiln_store::Mounted>, OpError> {
    match files(result, requester).await? {
        None => Ok(None),
        Some(files) => files.mount().await.map(Some).map_err(|error| failed(&error)),
    }
}

/// The path of a view.
pub(crate) fn path_of(view: Option<&kiln_store::Mounted>) -> Option<&Path> {
    view.map(kiln_store::Mounted::path)
}

/// An owned path, for work on another thread.
pub(crate) fn owned(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_owned)
}
