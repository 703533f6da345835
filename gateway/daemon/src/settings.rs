//! How a daemon is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_bridge::{FrontendRules, PluginDirectory, Plugins};
use kiln_build::Collector;
use kiln_cdi::{Grant, Registry};
use kiln_executor::Privileges;
use kiln_graph::Entitlements;
use kiln_oci::Platform;
use kiln_remotecache::{CachePolicy, CacheRule, CloudEnvironment, RequiredSigner};

use crate::config::{
    CacheSignersConfig, CdiConfig, Collection, Config, DnsConfig, Entitlement, HistoryConfig,
    InterruptedCaches, NetworkConfig,
};

/// The variables of the host that its programs, such as git, get: the search path and proxies.
pub const HOST_VARIABLES: &[&str] =
    &["PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// What wants the signatures that are not asked for by clients.
const CACHE_SIGNERS: &str = "kiln.cacheSigners of the daemon";

/// What runs the processes of builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// Kiln's own executor.
    #[default]
    Native,
    /// An OCI runtime: the path or the name of its program.
    Runtime(PathBuf),
}

/// How a daemon is set up; everything it would otherwise ask the environment.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where it keeps its state.
    pub root: PathBuf,
    /// What runs processes.
    pub executor: ExecutorChoice,
    /// Which executables may be started as frontends, and how.
    pub plugins: Plugins,
    /// Pull frontends that are named as images also where one that is linked in stands for them.
    pub pull_frontends: bool,
    /// What builds may ask for beyond the ordinary.
    pub entitlements: Entitlements,
    /// Registries that are not reached the ordinary way.
    pub registries: BTreeMap<String, kiln_registry::HostConfig>,
    /// Values of [`HOST_VARIABLES`].
    pub host_env: Vec<(String, String)>,
    /// Variables of the host that say how caches in clouds are reached.
    pub cloud_environment: CloudEnvironment,
    /// Whose signatures caches need to be imported.
    pub cache_policy: CachePolicy,
    /// Processes that run at the same time; `None` is no limit.
    pub max_parallelism: Option<usize>,
    /// What the kernel grants this process; see [`crate::private_process`].
    pub privileges: Privileges,
    /// How long a cancelled process may take to end after SIGTERM, before SIGKILL.
    pub step_grace: Duration,
    /// Do not give a cache mount out again whose step was killed; the next step begins with an
    /// empty one.
    pub discard_interrupted_caches: bool,
    /// What is pruned after builds, by policy; nothing, if there is none.
    pub collection: Option<Collection>,
    /// Labels of the worker besides those that say what it is.
    pub labels: BTreeMap<String, String>,
    /// Platforms the worker says it runs; those of the machine, if there are none.
    pub platforms: Vec<Platform>,
    /// Emulators, and directories of them, that come before those of the machine.
    pub emulators: Vec<PathBuf>,
    /// How long what the machine runs is taken for granted; `None` is forever.
    pub platforms_max_age: Option<Duration>,
    /// The cgroup under which those of processes are made that name none.
    pub cgroup_parent: Option<String>,
    /// How processes resolve names.
    pub dns: DnsConfig,
    /// Which frontends builds may use.
    pub frontends: FrontendRules,
    /// Connections at the same time to one registry; the client's default, if `None`.
    pub registry_concurrency: Option<usize>,
    /// How processes are connected that ask for nothing in particular; as the daemon, if `None`.
    pub network: Option<NetworkConfig>,
    /// The network of processes is a proxy that notes what passes, for all builds.
    pub proxy_network: bool,
    /// Devices for processes.
    pub cdi: CdiConfig,
    /// How long builds are remembered.
    pub history: HistoryConfig,
    /// Where spans of builds are sent, if anywhere.
    pub collector: Option<Collector>,
    /// Where processes send traces. Nothing acts on it yet.
    pub otel_socket: Option<PathBuf>,
    /// A directory whose files become part of provenance.
    pub provenance_env_dir: Option<PathBuf>,
}

impl Settings {
    /// Where specifications of devices are; `None` if no process gets any.
    pub(crate) fn devices(&self) -> Option<Registry> {
        (!self.cdi.disabled).then(|| Registry {
            directories: self.cdi.spec_dirs.clone(),
            auto_allowed: self.cdi.auto_allowed.clone(),
        })
    }

    /// What a configuration says. Directories of certificates and plugins, and files of keys, are read:
    /// call it before
    /// [`crate::private_process`], which finds out the [privileges](Self::privileges) that are not
    /// known yet.
    ///
    /// # Errors
    ///
    /// If one of these cannot be read.
    pub fn of(config: &Config, host_env: Vec<(String, String)>) -> std::io::Result<Self> {
        let registries = config.registries.iter();
        let registries = registries
            .map(|(name, registry)| Ok((name.clone(), registry.clone().with_directories()?)));
        let executor = config.worker.binary.clone();
        let allowed = |entitlement| config.entitlements.contains(&entitlement);
        Ok(Self {
            root: config.root.clone(),
            executor: executor.map_or(ExecutorChoice::Native, ExecutorChoice::Runtime),
            plugins: Plugins {
                directories: config
                    .plugins
                    .directories
                    .iter()
                    .map(PluginDirectory::inspect)
                    .collect(),
                // Whoever may call the daemon must not choose what it executes.
                by_path: false,
                unconfined: config.plugins.unconfined,
            },
            pull_frontends: config.pull_frontends,
            entitlements: Entitlements {
                network_host: allowed(Entitlement::NetworkHost),
                security_insecure: allowed(Entitlement::SecurityInsecure),
                devices: (!config.cdi.disabled).then(Grant::default),
            },
            registries: registries.collect::<std::io::Result<_>>()?,
            host_env,
            cloud_environment: CloudEnvironment::default(),
            cache_policy: cache_policy(&config.cache_signers)?,
            max_parallelism: config.worker.max_parallelism,
            privileges: Privileges::default(),
            step_grace: config.stopping.step_timeout,
            discard_interrupted_caches: config.stopping.interrupted_caches
                == InterruptedCaches::Discard,
            collection: config.collection.clone(),
            labels: config.worker.labels.clone(),
            platforms: config.worker.platforms.clone(),
            emulators: config.emulators.clone(),
            platforms_max_age: config.platforms_max_age,
            cgroup_parent: config.worker.cgroup_parent.clone(),
            dns: config.dns.clone(),
            frontends: FrontendRules {
                disabled: config.frontends.disabled.iter().map(ToString::to_string).collect(),
                allowed_repositories: config.frontends.allowed_repositories.clone(),
            },
            registry_concurrency: config.registry_concurrency.map(std::num::NonZero::get),
            network: Some(config.worker.network.clone()),
            proxy_network: config.proxy_network,
            cdi: config.cdi.clone(),
            history: config.history.clone(),
            collector: None,
            otel_socket: Some(config.otel_socket.clone()),
            provenance_env_dir: Some(config.provenance_env_dir.clone()),
        })
    }
}

/// The rules for caches, with their keys.
fn cache_policy(rules: &[CacheSignersConfig]) -> std::io::Result<CachePolicy> {
    let rule = |rule: &CacheSignersConfig| {
        let signer = match rule.key_files.as_slice() {
            [] => None,
            files => Some(signer(files)?),
        };
        Ok(CacheRule { caches: rule.caches.clone(), signer })
    };
    rules.iter().map(rule).collect::<std::io::Result<_>>().map(CachePolicy)
}

/// The keys of files, of which any may have signed.
fn signer(files: &[PathBuf]) -> std::io::Result<RequiredSigner> {
    let mut keys = Vec::new();
    for file in files {
        let named = |error: &dyn std::fmt::Display, kind| {
            std::io::Error::new(kind, format!("kiln.cacheSigners: {}: {error}", file.display()))
        };
        let text = std::fs::read(file).map_err(|error| named(&error, error.kind()))?;
        // Each must have a key, or a wrong name would go unnoticed.
        RequiredSigner::parse(&text, CACHE_SIGNERS)
            .map_err(|error| named(&error, std::io::ErrorKind::InvalidData))?;
        keys.extend(text);
        keys.push(b'\n');
    }
    let parsed = RequiredSigner::parse(&keys, CACHE_SIGNERS);
    parsed.map_err(std::io::Error::other)
}
