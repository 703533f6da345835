//! What to run: a [`Process`], with its file system, mounts, network and limits, all as data.
//!
//! Values come in from the worker with plain host paths; nothing here touches the machine.
//! The executors in [`crate::Native`] and [`crate::OciRuntime`] read them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::emulation::Emulation;
use crate::executor::ExecError;

/// The search path of a process whose environment has none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The host name of a process that asked for none.
pub(crate) const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// One process to run in a file system of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Names the control group and the bundle; letters, digits, `-`, `_` and `.` only.
    pub id: String,
    /// Program and arguments; a program without a slash is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value` pairs; of duplicates the last one counts.
    pub env: Vec<String>,
    /// Working directory; empty means `/`. Created if it is missing.
    pub cwd: String,
    /// `""`, `uid`, `uid:gid`, `name` or `name:group`; names are looked up inside the root.
    pub user: String,
    /// What `/` is.
    pub rootfs: Rootfs,
    /// Whether the process sees `/` read-only. Mount points are created before that happens.
    pub readonly_rootfs: bool,
    /// Mounts beyond `/`, in any order; parents are mounted first.
    pub mounts: Vec<Mount>,
    /// Which network the process sees.
    pub network: Network,
    /// How far the process is confined.
    pub security: Security,
    /// Host name; empty means `buildkitsandbox`.
    pub hostname: String,
    /// `(name, address)` pairs added to `/etc/hosts`.
    pub extra_hosts: Vec<(String, String)>,
    /// Resource limits set on the process; unnamed ones are the daemon's.
    pub ulimits: Vec<Ulimit>,
    /// Whether standard input is the slave of a terminal that shall control the process.
    pub tty: bool,
    /// Control group to place the process under.
    pub cgroup_parent: Option<String>,
    /// Limits of the control group.
    pub resources: Resources,
    /// Whether parents made for mount points are removed too, not only the mount points.
    pub remove_mount_stubs: bool,
    /// File shown as `/etc/resolv.conf`; by default made from the host's.
    pub resolv_conf: Option<PathBuf>,
    /// How programs of another architecture are run; by default as the kernel of the machine does.
    pub emulation: Option<Emulation>,
    /// Devices of the host, beside those that every process has.
    pub devices: Vec<DeviceNode>,
    /// Groups that the process is in, beside those of its user.
    pub groups: Vec<u32>,
    /// Programs of the host that an OCI runtime starts; [`crate::Native`] starts none.
    pub hooks: Vec<Hook>,
    /// A certificate, as PEM, that is in the first of the [`TRUST_BUNDLES`] while the process runs, and not
    /// afterwards.
    pub trusted: Option<String>,
}

/// Where programs look for the certificates that they trust, the most usual place first.
pub const TRUST_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A device of the host as a process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Where the process sees it, below `/dev`.
    pub path: PathBuf,
    /// Where it is on the host.
    pub host_path: PathBuf,
    /// Whether it is a device of blocks; as the host's, if not said.
    pub block: Option<bool>,
    /// Its major and minor number; those of the host's, if not said.
    pub number: Option<(u32, u32)>,
    /// Permissions of the node.
    pub mode: u32,
    /// What may be done with it, of `r`, `w` and `m`.
    pub access: String,
    /// Its owner; the process' user, if not said.
    pub uid: Option<u32>,
    /// Its group; the process', if not said.
    pub gid: Option<u32>,
}

/// A program of the host that an OCI runtime starts with a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When, in the words of the OCI runtime specification.
    pub name: String,
    /// The program.
    pub path: String,
    /// All arguments, with the program's name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<String>,
    /// How many seconds it may take.
    pub timeout: Option<i64>,
}

impl Process {
    /// A process with the given root and arguments: as root, in `/`, on its own loopback network.
    pub fn new(id: impl Into<String>, rootfs: Rootfs, args: &[&str]) -> Self {
        Self {
            id: id.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            rootfs,
            readonly_rootfs: false,
            mounts: Vec::new(),
            network: Network::None,
            security: Security::Sandbox,
            hostname: String::new(),
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            tty: false,
            cgroup_parent: None,
            resources: Resources::default(),
            remove_mount_stubs: false,
            resolv_conf: None,
            emulation: None,
            devices: Vec::new(),
            groups: Vec::new(),
            hooks: Vec::new(),
            trusted: None,
        }
    }

    /// The host name to set.
    pub(crate) fn hostname(&self) -> &str {
        if self.hostname.is_empty() { DEFAULT_HOSTNAME } else { &self.hostname }
    }

    /// The working directory as an absolute path.
    pub(crate) fn cwd(&self) -> PathBuf {
        PathBuf::from("/").join(&self.cwd)
    }

    /// An error if the network is still open.
    pub(crate) fn check_network(&self) -> Result<(), ExecError> {
        match self.network {
            Network::Default => Err(ExecError::Setup {
                step: "connect the process".to_owned(),
                message: "no network was chosen for it".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// An error if it has hooks, for an executor that starts none.
    pub(crate) fn check_hooks(&self) -> Result<(), ExecError> {
        match self.hooks.first() {
            None => Ok(()),
            Some(hook) => Err(ExecError::Setup {
                step: format!("start hook {} ({})", hook.path, hook.name),
                message:
                    "hooks of devices are started by an OCI runtime only; have the daemon run \
                          steps with one (worker.oci.binary, --oci-worker-binary)"
                        .to_owned(),
            }),
        }
    }

    /// Mounts with parents before children; of equal destinations the order is kept.
    pub(crate) fn sorted_mounts(&self) -> Vec<&Mount> {
        let mut mounts: Vec<&Mount> = self.mounts.iter().collect();
        mounts.sort_by_key(|mount| normal(&mount.dest).components().count());
        mounts
    }
}

/// A second process inside a running one's namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProcess {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value` pairs; the caller merges the container's own.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub cwd: String,
    /// As [`Process::user`].
    pub user: String,
    /// As [`Process::tty`].
    pub tty: bool,
    /// How far the process is confined.
    pub security: Security,
    /// As [`Process::emulation`]; that of the container's first process.
    pub emulation: Option<Emulation>,
}

/// A plain process of the host, such as git.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProcess {
    /// Program and arguments; a program without a slash is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// The whole environment, as `NAME=value`; nothing is inherited.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub cwd: String,
}

/// What is mounted as `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Layers with a writable one on top.
    Overlay {
        /// Read-only layers, the topmost first.
        lowers: Vec<PathBuf>,
        /// Where writes go.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
    },
    /// Layers only; mount points are made in memory and vanish with the process.
    OverlayReadonly {
        /// Read-only layers, the topmost first.
        lowers: Vec<PathBuf>,
    },
    /// An empty directory in memory.
    Memory,
    /// One directory.
    Bind {
        /// The directory.
        source: PathBuf,
        /// Whether it must not change, not even by a mount point.
        readonly: bool,
    },
}

/// A mount below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the process sees it; relative paths start at `/`.
    pub dest: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Whether writes are refused.
    pub readonly: bool,
    /// A path inside the source, which cannot lead out of it.
    pub selector: Option<String>,
    /// Whether set-user-id bits are ignored.
    pub nosuid: bool,
    /// Whether device nodes are dead.
    pub nodev: bool,
    /// Whether nothing can be executed from it.
    pub noexec: bool,
    /// Whether other processes may have the same files mounted now. Mount points that are made in it
    /// stay, because theirs may be the same.
    pub shared: bool,
}

impl Mount {
    /// A writable mount of `source` at `dest`.
    pub fn new(dest: impl Into<PathBuf>, source: MountSource) -> Self {
        Self {
            dest: dest.into(),
            source,
            readonly: false,
            selector: None,
            nosuid: false,
            nodev: false,
            noexec: false,
            shared: false,
        }
    }

    /// The same mount, read-only.
    #[must_use]
    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }

    /// The same mount, of `selector` inside its source.
    #[must_use]
    pub fn select(mut self, selector: impl Into<String>) -> Self {
        self.selector = Some(selector.into());
        self
    }
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// Layers with a writable one on top.
    Overlay {
        /// Read-only layers, the topmost first.
        lowers: Vec<PathBuf>,
        /// Where writes go.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
    },
    /// Layers only.
    OverlayReadonly {
        /// Read-only layers, the topmost first.
        lowers: Vec<PathBuf>,
    },
    /// A directory or file.
    Bind(PathBuf),
    /// Memory that vanishes with the process.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
    /// A single file, such as a secret.
    File(PathBuf),
    /// A socket, such as that of an ssh agent.
    Socket(PathBuf),
}

/// Which network a process sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// What the worker gives to processes that ask for nothing else. Executors do not know it: who
    /// connects processes puts one of the others in its place.
    Default,
    /// The daemon's.
    Host,
    /// None but a loopback of its own.
    None,
    /// That of a network namespace, by the path of its file. The caller keeps it until the process
    /// has ended.
    Namespace(PathBuf),
}

/// How far a process is confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// The usual capabilities and system calls of a container.
    #[default]
    Sandbox,
    /// Everything the daemon may do; needs the entitlement `security.insecure`.
    Insecure,
    /// Less than a sandbox: no capabilities at all, and no way to gain any. For programs that only
    /// compute, such as frontend plugins.
    Restricted,
}

/// A resource limit, by the field's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, `core`, ….
    pub name: String,
    /// The limit in force; −1 is no limit.
    pub soft: i64,
    /// How far it may be raised; −1 is no limit.
    pub hard: i64,
}

/// Limits of a process' control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Memory and swap together, in bytes; −1 is no limit.
    pub memory_swap: Option<i64>,
    /// Relative weight, 1024 being the default.
    pub cpu_shares: Option<u64>,
    /// Microseconds of one period.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<i64>,
    /// Processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as `0-2,4`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads at a time.
    pub pids: Option<u64>,
    /// Do without what this machine cannot limit, instead of failing.
    pub best_effort: bool,
}

impl Resources {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        Self { best_effort: false, ..self.clone() } == Self::default()
    }
}

/// `path` as an absolute one without `.`, `..` and doubled slashes.
pub(crate) fn normal(path: &std::path::Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        if let std::path::Component::Normal(name) = component {
            out.push(name);
        } else if component == std::path::Component::ParentDir {
            out.pop();
        }
    }
    out
}
