//! The daemon: all crates, put together once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_bridge::{FrontendRegistry, FrontendRegistryParts};
use kiln_build::{
    Builder, BuilderParts, ImportedMounts, ProvenanceEnvError, Traces, WithImports,
    read_provenance_env,
};
use kiln_cache::{CacheStore, DiskKeyValue, LinkStore, MemoryKeyValue};
use kiln_container::{Containers, ContainersParts, EmulatorOptions};
use kiln_control::{Policies, Pruner, Services};
use kiln_emulation::SearchPath;
use kiln_engine::{Engine, EngineOptions};
use kiln_executor::{
    Executor, Native, OciRuntime, Spawner, Standing, Unavailable, programs_called,
};
use kiln_exporters::Images;
use kiln_history::{History, Policy};
use kiln_metadata::Metadata;
use kiln_network::Networks;
use kiln_registry::{Hosts, Registry};
use kiln_remotecache::{Clouds, Imports, Reach};
use kiln_session::SessionManager;
use kiln_store::{Store, StoreOptions};
use kiln_wire::channel::Io;
use kiln_worker::{Worker, WorkerInfo, WorkerParts};
use tonic::transport::server::Router;

use crate::images::StoreImages;
use crate::step_defaults::StepDefaults;
use crate::{ExecutorChoice, Settings, languages, network};

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] kiln_store::OpenError),
    /// The cache index cannot be used.
    #[error(transparent)]
    Cache(#[from] kiln_metadata::OpenError),
    /// Processes cannot be connected as the configuration says.
    #[error("cannot connect steps as worker.oci.networkMode says")]
    Network(#[from] kiln_network::NetworkError),
    /// What is remembered of builds cannot be used.
    #[error(transparent)]
    History(#[from] kiln_history::OpenError),
    /// What the operator adds to provenance cannot be used.
    #[error(transparent)]
    Provenance(#[from] ProvenanceEnvError),
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
    /// There is no such OCI runtime.
    #[error(
        "there is no OCI runtime {}: install it, or name another (worker.oci.binary, --oci-worker-binary, \
         kiln's --executor); without any, Kiln runs steps by itself", .0.display()
    )]
    Runtime(PathBuf),
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
    pub(crate) builder: Builder,
    pub(crate) services: Services,
    pub(crate) networks: Networks,
}

impl Daemon {
    /// Starts a daemon on the current runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        kiln_registry::install_crypto();
        let refused = settings.privileges.refuses_overlays();
        if let Some(why) = refused {
            tracing::warn!(
                why,
                "overlays cannot be mounted; files are copied instead, which takes time and space (see `kiln doctor`)"
            );
        }
        let options = StoreOptions {
            discard_interrupted: settings.discard_interrupted_caches,
            copy: refused.is_some(),
            // Without rights over the host its attributes of overlays are out of reach.
            in_user_namespace: (settings.privileges.standing == Standing::Plain).then_some(true),
            ..StoreOptions::default()
        };
        let store = Store::open(&settings.root, options)?;
        let private = |error: kiln_store::StoreError| kiln_store::OpenError::from(error);
        let cache = open_cache(store.metadata())?;
        let scratch = store.private_directory("executor").map_err(private)?;
        let spawner = Spawner::start(&scratch).map_err(StartError::Spawner)?;
        let state = store.private_directory("network").map_err(private)?;
        let executor: Arc<dyn Executor> = Arc::new(StepDefaults::new(
            executor(&settings, &spawner)?,
            settings.cgroup_parent.clone(),
            settings.dns.clone(),
            &state,
        ));
        let networks = Networks::open(&network::options(&settings, state), &spawner)?;
        network::announce(&networks);
        let executor = networks.connect(executor);
        let policy =
            Policy { max_age: settings.history.max_age, max_entries: settings.history.max_entries };
        let history = History::open(&store, policy)?;
        let env = settings.provenance_env_dir.as_deref();
        let provenance_env = env.map(read_provenance_env).transpose()?.unwrap_or_default();
        let sessions = SessionManager::new(kiln_session::Health::default());
        let registry =
            Registry::new(Hosts::new(settings.registries.clone()), registry_options(&settings));
        let info = WorkerInfo {
            id: worker_id(&store)?,
            labels: labels(executor.name(), &settings, &networks),
            platforms: settings.platforms.clone(),
        };
        let pull = settings.pull_frontends || settings.frontends.disabled.contains("dockerfile.v0");
        let frontends = FrontendRegistry::new(FrontendRegistryParts {
            linked: languages::all(),
            stands_for: if pull { |_| None } else { languages::stands_for },
            plugins: settings.plugins.clone(),
            spawner: spawner.clone(),
            rules: settings.frontends.clone(),
        });
        let images = Arc::new(StoreImages(store.clone()));
        let reach = Reach {
            registry: registry.clone(),
            clouds: Clouds::new(settings.cloud_environment.clone()),
            sessions: sessions.clone(),
        };
        let imports = Imports::new(reach, &store, settings.cache_policy.clone());
        let containers = Containers::new(ContainersParts {
            store: store.clone(),
            executor,
            spawner: Some(spawner.clone()),
            sessions: sessions.clone(),
            devices: settings.devices(),
            networks: Some(networks.clone()),
            grace: settings.step_grace,
            emulators: emulators(&settings),
            cache_mounts: Some(Arc::new(ImportedMounts(imports.clone()))),
        });
        let worker = Worker::new(WorkerParts {
            store,
            containers,
            images,
            spawner,
            registry: registry.clone(),
            sessions: sessions.clone(),
            info,
            host_env: settings.host_env.clone(),
        })?;
        let operators = WithImports { worker: worker.clone(), imports: imports.clone() };
        let options = EngineOptions { max_parallelism: settings.max_parallelism };
        let engine = Engine::start(Arc::new(operators), Arc::clone(&cache), &options);
        let traces = Traces::new(settings.collector.clone());
        let builder = Builder::new(BuilderParts {
            worker,
            engine,
            cache,
            imports,
            frontends: Arc::new(frontends),
            sessions,
            registry,
            history,
            traces,
            provenance_env,
            entitlements: settings.entitlements.clone(),
            proxy_network: settings.proxy_network,
            notices: network::notice(&networks).into_iter().collect(),
            dockerfile_version: languages::DOCKERFILE_VERSION.to_owned(),
        });
        let pruner = Pruner::new(builder.clone(), policies(&settings));
        pruner.collect_soon();
        let services = Services::new(builder.clone(), pruner);
        Ok(Self(Arc::new(Parts { settings, builder, services, networks })))
    }

    /// Where it keeps images and results.
    pub fn store(&self) -> &Store {
        self.0.builder.store()
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
        kiln_wire::channel::serve(self.0.services.api().await, io).await
    }

    /// All services, to be served on listeners.
    pub async fn services(&self) -> Router {
        self.0.services.all().await
    }

    /// Waits until everything that was built is kept.
    pub async fn flush(&self) {
        self.0.builder.flush().await;
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("root", &self.0.settings.root).finish_non_exhaustive()
    }
}

/// What is collected, for the disk that the store is on.
fn policies(settings: &Settings) -> Policies {
    let collection = settings.collection.clone();
    Arc::new(move |total| {
        collection.as_ref().map(|collection| collection.on_disk(total)).unwrap_or_default()
    })
}

/// Where emulators are looked for.
fn emulators(settings: &Settings) -> EmulatorOptions {
    EmulatorOptions {
        search: SearchPath::new(settings.emulators.clone(), search_path(settings)),
        max_age: settings.platforms_max_age,
    }
}

/// Where programs of this machine are looked for.
fn search_path(settings: &Settings) -> &str {
    let path = settings.host_env.iter().find(|(name, _)| name == "PATH");
    path.map_or("", |(_, path)| path.as_str())
}

/// What runs processes, as far as the kernel allows any.
///
/// # Errors
///
/// If the OCI runtime that is to do so is not there.
fn executor(settings: &Settings, spawner: &Spawner) -> Result<Arc<dyn Executor>, StartError> {
    if let ExecutorChoice::Runtime(binary) = &settings.executor
        && programs_called(binary, search_path(settings)).next().is_none()
    {
        return Err(StartError::Runtime(binary.clone()));
    }
    if let Some(reason) = settings.privileges.refuses_containers() {
        tracing::info!("{reason}");
        return Ok(Arc::new(Unavailable::new(reason)));
    }
    Ok(match &settings.executor {
        ExecutorChoice::Native => Arc::new(Native::new(spawner.clone())),
        ExecutorChoice::Runtime(binary) => {
            let arguments = runtime_arguments(binary);
            Arc::new(OciRuntime::new(spawner.clone(), binary.clone(), arguments))
        }
    })
}

/// What the worker is, in BuildKit's words, what the kernel grants it, and what the user says about
/// it.
fn labels(executor: &str, settings: &Settings, networks: &Networks) -> BTreeMap<String, String> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let snapshotter = match settings.privileges.refuses_overlays() {
        Some(_) => "native",
        None => "overlayfs",
    };
    let facts = [
        ("executor", executor),
        ("snapshotter", snapshotter),
        ("network", networks.kind()),
        ("hostname", &hostname),
        ("oci.process-mode", "sandbox"),
        ("selinux.enabled", "false"),
    ];
    let facts = facts
        .map(|(name, value)| (format!("org.mobyproject.buildkit.worker.{name}"), value.to_owned()));
    let granted = settings.privileges.labels();
    let granted = granted.into_iter().map(|(name, value)| (name.to_owned(), value));
    let granted = granted.chain(network::labels(networks));
    facts.into_iter().chain(granted).chain(settings.labels.clone()).collect()
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

/// Opens the cache index; one for which there is no space is done without until the next start.
fn open_cache(metadata: &Metadata) -> Result<Arc<dyn CacheStore>, kiln_metadata::OpenError> {
    match DiskKeyValue::open(metadata) {
        Ok(table) => Ok(Arc::new(LinkStore::new(table))),
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "the disk is full: nothing that is built now will be known to be built later");
            Ok(Arc::new(LinkStore::new(MemoryKeyValue::default())))
        }
        Err(error) => Err(error),
    }
}

/// The worker's id, made when the state directory is new.
fn worker_id(store: &Store) -> Result<String, StartError> {
    let path = store.private_file("workerid").map_err(kiln_store::OpenError::from)?;
    let failed = |source| StartError::Root { path: path.display().to_string(), source };
    let known = std::fs::read_to_string(&path).map_err(failed)?;
    if !known.trim().is_empty() {
        return Ok(known.trim().to_owned());
    }
    let id = kiln_client::new_id();
    std::fs::write(&path, &id).map_err(failed)?;
    Ok(id)
}
