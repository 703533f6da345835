//! The daemon: all rooms, put together once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_bridge::{Seats, SeatsParts};
use kiln_cache::DiskStore;
use kiln_engine::{Engine, EngineOptions};
use kiln_executor::{Executor, Native, OciRuntime, Spawner};
use kiln_exporters::Images;
use kiln_oci::Platform;
use kiln_registry::{Hosts, Registry};
use kiln_session::SessionManager;
use kiln_store::{PruneOptions, Store, StoreOptions, Usage};
use kiln_wire::channel::Io;
use kiln_wire::proto::control::control_server::ControlServer;
use kiln_worker::{Ref, Worker, WorkerInfo, WorkerParts};
use tonic::transport::server::Router;
use tonic_health::ServingStatus;

use crate::builds::Builds;
use crate::control::Control;
use crate::images::StoreImages;
use crate::step_defaults::StepDefaults;
use crate::{ExecutorChoice, Settings, languages, reflection};

/// The services that are served beside health and reflection.
const SERVICES: &[&str] = &["moby.buildkit.v1.Control", "moby.buildkit.v1.frontend.LLBBridge"];
/// How long after a build is collected, so that the next build does not wait for it.
const COLLECT_DELAY: Duration = Duration::from_secs(1);
/// How long nothing is collected after that.
const COLLECT_PAUSE: Duration = Duration::from_secs(60);

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] kiln_store::OpenError),
    /// The cache index cannot be used.
    #[error(transparent)]
    Cache(#[from] kiln_cache::OpenError),
    /// What sources remember cannot be used.
    #[error(transparent)]
    Sources(#[from] kiln_sources::OpenError),
    /// A file of the state directory cannot be read or written.
    #[error("cannot use the state directory {path}")]
    Root {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The helper that starts processes does not run.
    #[error("cannot start the process spawner")]
    Spawner(#[source] std::io::Error),
}

impl StartError {
    /// Whether another daemon holds the state directory.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(kiln_store::OpenError::InUse { .. }))
    }
}

/// A running daemon. Cheap to clone; its state directory is free when the last clone is gone.
#[derive(Clone)]
pub struct Daemon(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) worker: Worker,
    pub(crate) engine: Engine<Ref>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) sessions: SessionManager,
    pub(crate) registry: Registry,
    pub(crate) builds: Builds,
    collecting: AtomicBool,
}

impl Daemon {
    /// Starts a daemon on the current runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        kiln_registry::install_crypto();
        let store = Store::open(&settings.root, StoreOptions::default())?;
        let root = store.root().to_owned();
        let cache = DiskStore::open(&root.join("cache.redb"))?;
        let scratch = root.join("executor");
        std::fs::create_dir_all(&scratch)
            .map_err(|source| StartError::Root { path: scratch.display().to_string(), source })?;
        let spawner = Spawner::start(&scratch).map_err(StartError::Spawner)?;
        let executor: Arc<dyn Executor> = match &settings.executor {
            ExecutorChoice::Native => Arc::new(Native::new(spawner.clone())),
            ExecutorChoice::Runtime(binary) => Arc::new(OciRuntime::new(
                spawner.clone(),
                binary.clone(),
                runtime_arguments(binary),
            )),
        };
        let executor: Arc<dyn Executor> = Arc::new(StepDefaults::new(
            executor,
            settings.cgroup_parent.clone(),
            settings.dns.clone(),
            &root.join("network"),
        ));
        let sessions = SessionManager::new(kiln_session::Health::default());
        let registry =
            Registry::new(Hosts::new(settings.registries.clone()), registry_options(&settings));
        let info = WorkerInfo {
            id: worker_id(&root)?,
            labels: labels(executor.name(), &settings.labels),
            platforms: match settings.platforms.is_empty() {
                true => vec![Platform::host()],
                false => settings.platforms.clone(),
            },
        };
        let pull = settings.pull_frontends || settings.frontends.disabled.contains("dockerfile.v0");
        let seats = Seats::new(SeatsParts {
            linked: languages::all(),
            stands_for: if pull { |_| None } else { languages::stands_for },
            plugin_path: settings.plugin_path.clone(),
            spawner: spawner.clone(),
            rules: settings.frontends.clone(),
        });
        let images = Arc::new(StoreImages(store.clone()));
        let worker = Worker::new(WorkerParts {
            store,
            images,
            executor,
            spawner,
            registry: registry.clone(),
            sessions: sessions.clone(),
            info,
            host_env: settings.host_env.clone(),
        })?;
        let options = EngineOptions { max_parallelism: settings.max_parallelism, unique: unique() };
        let engine = Engine::start(Arc::new(worker.clone()), Arc::new(cache), options);
        let parts = Parts {
            settings,
            worker,
            engine,
            seats: Arc::new(seats),
            sessions,
            registry,
            builds: Builds::default(),
            collecting: AtomicBool::new(false),
        };
        let daemon = Self(Arc::new(parts));
        daemon.collect_soon();
        Ok(daemon)
    }

    /// Where it keeps images and results.
    pub fn store(&self) -> &Store {
        self.0.worker.store()
    }

    /// The images that have names in its store.
    pub fn images(&self) -> Images {
        Images::of(self.store())
    }

    /// Serves one connection until the client closes it.
    ///
    /// # Errors
    ///
    /// If the client does not speak HTTP/2.
    pub async fn serve(&self, io: impl Io) -> Result<(), tonic::transport::Error> {
        kiln_wire::channel::serve(self.api().await, io).await
    }

    /// All services, to be served on listeners.
    pub async fn services(&self) -> Router {
        reflection::add_to(self.api().await, SERVICES)
    }

    /// What builds need.
    async fn api(&self) -> Router {
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in SERVICES {
            health.set_service_status(*service, ServingStatus::Serving).await;
        }
        let control = ControlServer::new(Control(self.clone()))
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        kiln_wire::channel::server()
            .add_service(control)
            .add_service(kiln_bridge::service::service(self.0.builds.clone()))
            .add_service(health_service)
    }

    /// The policies of collection for the disk that the store is on; none, if nothing is collected.
    pub(crate) fn policies(&self) -> Vec<PruneOptions> {
        let total = self.store().disk_size().unwrap_or_default();
        let collection = self.0.settings.collection.as_ref();
        collection.map(|collection| collection.on_disk(total)).unwrap_or_default()
    }

    /// Prunes by policy, soon and at most once a minute, if this daemon does that.
    pub(crate) fn collect_soon(&self) {
        let policies = self.policies();
        if policies.is_empty() || self.0.collecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let daemon = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(COLLECT_DELAY).await;
            let store = daemon.store();
            let mut log = |usage: Usage| tracing::debug!(id = usage.id, "collected");
            if let Err(error) = store.collect(&policies, &mut log).await {
                tracing::warn!(%error, "collection failed");
            }
            tokio::time::sleep(COLLECT_PAUSE).await;
            daemon.0.collecting.store(false, Ordering::Relaxed);
        });
    }

    /// Waits until everything that was built is kept.
    pub async fn flush(&self) {
        self.0.engine.flush().await;
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("root", &self.0.settings.root).finish_non_exhaustive()
    }
}

/// What the worker is, in BuildKit's words, and what the user says about it.
fn labels(executor: &str, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let facts = [
        ("executor", executor),
        ("snapshotter", "overlayfs"),
        ("network", "host"),
        ("hostname", &hostname),
        ("oci.process-mode", "sandbox"),
        ("selinux.enabled", "false"),
    ];
    let facts = facts
        .map(|(name, value)| (format!("org.mobyproject.buildkit.worker.{name}"), value.to_owned()));
    facts.into_iter().chain(own.clone()).collect()
}

fn registry_options(settings: &Settings) -> kiln_registry::Options {
    let default = kiln_registry::Options::default();
    let max_per_host = settings.registry_concurrency.unwrap_or(default.max_per_host);
    kiln_registry::Options { max_per_host, ..default }
}

/// crun cannot use the control groups of a mixed hierarchy.
fn runtime_arguments(binary: &Path) -> Vec<String> {
    let crun = binary.file_name().is_some_and(|name| name == "crun");
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if crun && !pure { vec!["--cgroup-manager=disabled".to_owned()] } else { Vec::new() }
}

/// The worker's id, made when the state directory is new.
fn worker_id(root: &Path) -> Result<String, StartError> {
    let path = root.join("workerid");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let id = kiln_client::new_id();
    std::fs::write(&path, &id)
        .map_err(|source| StartError::Root { path: path.display().to_string(), source })?;
    Ok(id)
}

fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos());
    format!("{}-{now}", std::process::id())
}
