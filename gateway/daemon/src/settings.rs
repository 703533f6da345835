//! How a daemon is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_bridge::Plugins;
use kiln_executor::Privileges;
use kiln_graph::Entitlements;

/// The variables of the host that its programs, such as git, get: the search path and proxies.
pub const HOST_VARIABLES: &[&str] =
    &["PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

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
    /// Processes that run at the same time; `None` is no limit.
    pub max_parallelism: Option<usize>,
    /// What the kernel grants this process; see [`crate::private_process`].
    pub privileges: Privileges,
    /// Prune by policy after builds.
    pub collect: bool,
    /// How long a cancelled process may take to end after SIGTERM, before SIGKILL.
    pub step_grace: Duration,
    /// Do not give a cache mount out again whose step was killed; the next step begins with an
    /// empty one.
    pub discard_interrupted_caches: bool,
}
