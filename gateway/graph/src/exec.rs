//! The operation that runs a process, as data.

use kiln_cdi::Request;
use serde::Serialize;

/// Runs a process on mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// The program and its arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Where the process starts.
    pub cwd: String,
    /// User and group, by name or number; empty is root.
    pub user: String,
    /// Proxies, visible to the process but not part of the result's identity.
    pub proxy: Option<ProxyEnv>,
    /// More lines for /etc/hosts.
    pub extra_hosts: Vec<HostEntry>,
    /// The host name; empty is the default.
    pub hostname: String,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// The parent of the process's control group.
    pub cgroup_parent: String,
    /// Remove mount points that were made for the process, in parents too.
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that count as success; empty is just 0.
    pub valid_exit_codes: Vec<i32>,
    /// What is mounted; exactly one mount is `/`.
    pub mounts: Vec<ExecMount>,
    /// The network it sees.
    pub network: NetworkMode,
    /// What it may do.
    pub security: SecurityMode,
    /// Secrets in its environment.
    pub secret_env: Vec<SecretEnv>,
    /// Devices of the host that it may have.
    pub devices: Vec<Request>,
    /// Its network is a proxy that notes what passes.
    pub proxied: Option<ProxyNetwork>,
}

/// A network that is a proxy of the daemon's. What the network of the process is decides what the proxy
/// reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyNetwork {
    /// Names who decides on its requests; nobody, if empty.
    pub judge: String,
}

impl Exec {
    /// A path as the process sees it: relative ones start from its working directory.
    pub fn join_cwd(&self, path: &str) -> String {
        match (path.starts_with('/'), self.cwd.trim_end_matches('/')) {
            (true, _) => path.to_owned(),
            (false, "") => format!("/{path}"),
            (false, cwd) => format!("{cwd}/{path}"),
        }
    }
}

/// Something mounted for a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecMount {
    /// The input; `None` is empty.
    pub input: Option<usize>,
    /// A path inside the input that is mounted instead of its root.
    pub selector: String,
    /// Where.
    pub dest: String,
    /// The output that this mount becomes.
    pub output: Option<usize>,
    /// Not writable.
    pub readonly: bool,
    /// What kind.
    pub kind: MountKind,
    /// Whether its content is part of the cache key.
    pub content_cache: ContentCache,
}

impl ExecMount {
    /// An input at `dest`, whole and writable; what is written to it is not kept.
    pub fn bind(input: usize, dest: impl Into<String>) -> Self {
        Self {
            input: Some(input),
            selector: String::new(),
            dest: dest.into(),
            output: None,
            readonly: false,
            kind: MountKind::Bind,
            content_cache: ContentCache::Default,
        }
    }
}

/// What kind of mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum MountKind {
    /// The input itself.
    Bind,
    /// A directory that outlives the build.
    Cache {
        /// Names it.
        id: String,
        /// Who else may use it at the same time.
        sharing: CacheSharing,
    },
    /// Memory.
    Tmpfs {
        /// Its size in bytes; 0 is no limit.
        size: u64,
    },
    /// A secret of the client, as a file.
    Secret {
        /// Names it.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permissions.
        mode: u32,
        /// Leave the mount out if the client has no such secret.
        optional: bool,
    },
    /// A socket of the client's SSH agent.
    Ssh {
        /// Names it.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permissions.
        mode: u32,
        /// Leave the mount out if the client has no such agent.
        optional: bool,
    },
}

/// Who may use a cache directory at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CacheSharing {
    /// Everyone.
    #[default]
    Shared,
    /// Whoever comes second gets another one.
    Private,
    /// Whoever comes second waits.
    Locked,
}

/// Whether a mount's content is part of the cache key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ContentCache {
    /// Where it is safe, except for `/`.
    #[default]
    Default,
    /// Yes.
    On,
    /// No.
    Off,
}

/// The network of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum NetworkMode {
    /// The worker's default.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Only loopback.
    None,
}

/// What a process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SecurityMode {
    /// What containers may.
    #[default]
    Sandbox,
    /// What the daemon may.
    Insecure,
}

/// Proxies for a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyEnv {
    /// For HTTP.
    pub http: String,
    /// For HTTPS.
    pub https: String,
    /// For FTP.
    pub ftp: String,
    /// Hosts without proxy.
    pub no: String,
    /// For everything else.
    pub all: String,
}

/// A line for /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// The name.
    pub host: String,
    /// The address.
    pub ip: String,
}

/// A resource limit of a process (`setrlimit`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// Where the process is warned; -1 is no limit.
    pub soft: i64,
    /// How far it may raise `soft`; -1 is no limit.
    pub hard: i64,
}

/// A secret in the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretEnv {
    /// Names the secret.
    pub id: String,
    /// The variable.
    pub name: String,
    /// Leave it out if the client has no such secret.
    pub optional: bool,
}

/// Limits of a process's control group; 0 and empty are no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: i64,
    /// Memory and swap in bytes; -1 is no limit.
    pub memory_swap: i64,
    /// Share of processor time relative to others.
    pub cpu_shares: u64,
    /// Length of a scheduling period in microseconds.
    pub cpu_period: u64,
    /// Processor time per period in microseconds.
    pub cpu_quota: i64,
    /// Processors such as `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory nodes such as `0`.
    pub cpuset_mems: String,
}
