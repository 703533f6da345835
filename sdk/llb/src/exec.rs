//! Commands: from [`Exec`], what to run and how, to the op, and to its outputs.
//!
//! [`State::run`] gives a [`Run`]. Its root is the state after the command; each writable mount is
//! an output of its own.

use std::net::IpAddr;
use std::sync::Arc;

use kiln_pb::pb;

use crate::marshal::{Lowered, MarshalError, Marshaller};
use crate::mount::{ContentCache, Device, Mount, MountKind, Proxy, Secret, Sharing, Ssh};
use crate::values::{Edit, Inherited, NetMode, SecurityMode, Ulimit, Values};
use crate::vertex::{InputList, Kind, Output, Port, Vertex};
use crate::{Constraints, State, caps};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run and how. What is left out comes from the state it runs on.
///
/// ```
/// use kiln_llb::{Exec, Mount, Sharing, State, args};
///
/// let run = State::image("alpine:3.20").run(
///     Exec::in_dir("/src")
///         .with_args(args!["make", "install"])
///         .with_mounts(vec![Mount::cache("/root/.cache").shared(Sharing::Locked)]),
/// );
/// assert!(!run.root().is_scratch());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Environment, on top of the state's.
    pub env: Vec<(String, String)>,
    /// Working directory, relative to the state's; the state's if empty.
    pub dir: String,
    /// User and group; the state's if empty.
    pub user: String,
    /// Host name; the state's if empty.
    pub hostname: String,
    /// Network; the state's if absent.
    pub network: Option<NetMode>,
    /// Privileges; the state's if absent.
    pub security: Option<SecurityMode>,
    /// More hosts, after the state's.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// More limits, after the state's.
    pub ulimits: Vec<Ulimit>,
    /// Parent of the cgroup; the state's if empty.
    pub cgroup_parent: String,
    /// Directories the command sees.
    pub mounts: Vec<Mount>,
    /// Secrets the command sees.
    pub secrets: Vec<Secret>,
    /// SSH agents the command sees.
    pub ssh: Vec<Ssh>,
    /// Devices the command sees.
    pub devices: Vec<Device>,
    /// Proxies the command uses.
    pub proxy: Option<Proxy>,
    /// The command may not write to its root.
    pub readonly_root: bool,
    /// Exit codes that are no failure; only 0 if absent.
    pub valid_exit_codes: Option<Vec<i32>>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Exec {
    with_args(args: Vec<String>),
    with_env(env: Vec<(String, String)>),
    with_dir(dir: impl Into<String>),
    with_user(user: impl Into<String>),
    with_hostname(hostname: impl Into<String>),
    with_network(network: impl Into<Option<NetMode>>),
    with_security(security: impl Into<Option<SecurityMode>>),
    with_extra_hosts(extra_hosts: Vec<(String, IpAddr)>),
    with_ulimits(ulimits: Vec<Ulimit>),
    with_cgroup_parent(cgroup_parent: impl Into<String>),
    with_mounts(mounts: Vec<Mount>),
    with_secrets(secrets: Vec<Secret>),
    with_ssh(ssh: Vec<Ssh>),
    with_devices(devices: Vec<Device>),
    with_proxy(proxy: impl Into<Option<Proxy>>),
    with_readonly_root(readonly_root: bool),
    with_valid_exit_codes(valid_exit_codes: impl Into<Option<Vec<i32>>>),
    with_constraints(constraints: Constraints),
});

/// Words as a `Vec<String>`, for [`Exec::args`].
#[macro_export]
macro_rules! args {
    ($($word:expr),* $(,)?) => { vec![$(::std::string::String::from($word)),*] };
}

impl Exec {
    /// A program with its arguments.
    pub fn args<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// A line for the shell: `/bin/sh -c line`.
    pub fn sh(line: impl Into<String>) -> Self {
        Self::args([String::from("/bin/sh"), "-c".into(), line.into()])
    }

    /// Options for a command in a directory.
    pub fn in_dir(dir: impl Into<String>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    fn edits(&self) -> Vec<Edit> {
        let mut edits: Vec<Edit> =
            self.env.iter().map(|(name, value)| Edit::Env(name.clone(), value.clone())).collect();
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        edits.extend(given(&self.dir).map(Edit::Dir));
        edits.extend(given(&self.user).map(Edit::User));
        edits.extend(given(&self.hostname).map(Edit::Hostname));
        edits.extend(given(&self.cgroup_parent).map(Edit::CgroupParent));
        edits.extend(self.network.map(Edit::Network));
        edits.extend(self.security.map(Edit::Security));
        edits.extend(self.extra_hosts.iter().map(|(host, ip)| Edit::ExtraHost(host.clone(), *ip)));
        edits.extend(self.ulimits.iter().cloned().map(Edit::Ulimit));
        edits
    }
}

/// A command on a state, with all its outputs.
#[derive(Clone, Debug)]
pub struct Run {
    base: State,
    exec: Exec,
    vertex: Arc<Vertex>,
}

impl State {
    /// Runs a command with this state as its root file system.
    pub fn run(&self, exec: Exec) -> Run {
        Run::new(self.clone(), exec)
    }
}

impl Run {
    fn new(base: State, exec: Exec) -> Self {
        let mut inputs = InputList::default();
        let mut mounts: Vec<ExecMount> = vec![ExecMount::root(exec.readonly_root)];
        mounts.extend(exec.mounts.iter().map(ExecMount::of));
        // Sorted, because inputs and outputs are numbered in this order.
        let sources = std::iter::once(&base).chain(exec.mounts.iter().map(|mount| &mount.source));
        let mut placed: Vec<(ExecMount, &State)> = mounts.into_iter().zip(sources).collect();
        placed.sort_by(|(a, _), (b, _)| a.target.cmp(&b.target));
        let mut next_output = 0;
        let mounts = placed.into_iter().map(|(mut mount, source)| {
            mount.source = inputs.add(source);
            if mount.has_output() {
                mount.output = next_output;
                next_output += 1;
            }
            mount
        });
        let vertex = ExecVertex {
            values: base.values.edited(exec.edits()),
            args: exec.args.clone(),
            mounts: mounts.collect(),
            secrets: exec.secrets.clone(),
            ssh: exec.ssh.clone(),
            devices: exec.devices.clone(),
            proxy: exec.proxy.clone(),
            valid_exit_codes: exec.valid_exit_codes.clone(),
        };
        let kind = Kind::Exec(Box::new(vertex));
        let vertex = Vertex::new(kind, inputs.0, exec.constraints.clone());
        Self { base, exec, vertex }
    }

    /// The root file system after the command, or before it if the command could not write.
    pub fn root(&self) -> State {
        self.base.with_output(self.output("/", self.exec.readonly_root, &self.base))
    }

    /// The contents of a mount after the command, with the values of the state that was mounted.
    ///
    /// Nothing if there is no such mount. A mount whose contents are not kept gives a state that
    /// cannot be marshalled.
    pub fn mount(&self, target: &str) -> Option<State> {
        let mount = self.exec.mounts.iter().rfind(|mount| mount.target == target)?;
        let output = self.output(target, mount.readonly, &mount.source);
        Some(mount.source.with_output(output))
    }

    /// As [`Run::mount`], with the values of a fresh state; `/` is the root.
    pub fn get_mount(&self, target: &str) -> Option<State> {
        let state = if target == "/" { self.root() } else { self.mount(target)? };
        Some(State::from_output(state.output))
    }

    /// The same command with one more mount.
    #[must_use]
    pub fn with_mount(&self, mount: Mount) -> Self {
        let mut exec = self.exec.clone();
        exec.mounts.push(mount);
        Self::new(self.base.clone(), exec)
    }

    fn output(&self, target: &str, readonly: bool, source: &State) -> Option<Output> {
        if readonly {
            return source.output.clone();
        }
        let Kind::Exec(exec) = &self.vertex.kind else { return None };
        let mount = exec.mounts.iter().find(|mount| mount.target == target)?;
        let port = match mount.kind {
            MountKind::Tmpfs { .. } => Port::Tmpfs(target.into()),
            _ if mount.no_output => Port::NoOutput(target.into()),
            MountKind::Cache { .. } => Port::Cache(target.into()),
            MountKind::Bind => Port::Index(mount.output),
        };
        Some(self.vertex.output(port))
    }
}

/// A command, ready to be lowered.
pub(crate) struct ExecVertex {
    values: Inherited,
    args: Vec<String>,
    mounts: Vec<ExecMount>,
    secrets: Vec<Secret>,
    ssh: Vec<Ssh>,
    devices: Vec<Device>,
    proxy: Option<Proxy>,
    valid_exit_codes: Option<Vec<i32>>,
}

/// A mount whose source is an input of the vertex.
struct ExecMount {
    target: String,
    source: Option<usize>,
    source_path: String,
    readonly: bool,
    no_output: bool,
    content_cache: ContentCache,
    kind: MountKind,
    output: i64,
}

impl ExecMount {
    fn root(readonly: bool) -> Self {
        Self { readonly, ..Self::of(&Mount::bind("/", &State::scratch())) }
    }

    fn of(mount: &Mount) -> Self {
        Self {
            target: mount.target.clone(),
            source: None,
            source_path: mount.source_path.clone(),
            readonly: mount.readonly,
            no_output: mount.no_output,
            content_cache: mount.content_cache,
            kind: mount.kind.clone(),
            output: -1,
        }
    }

    fn has_output(&self) -> bool {
        !self.readonly && !self.no_output && self.kind == MountKind::Bind
    }

    fn caps(&self, caps: &mut Vec<&'static str>) {
        if !self.source_path.is_empty() {
            caps.push(caps::EXEC_MOUNT_SELECTOR);
        }
        if self.content_cache != ContentCache::Default {
            caps.push(caps::EXEC_MOUNT_CONTENT_CACHE);
        }
        match self.kind {
            MountKind::Cache { .. } => {
                caps.extend([caps::EXEC_MOUNT_CACHE, caps::EXEC_MOUNT_CACHE_SHARING]);
            }
            MountKind::Tmpfs { size_bytes } => {
                caps.push(caps::EXEC_MOUNT_TMPFS);
                if size_bytes > 0 {
                    caps.push(caps::EXEC_MOUNT_TMPFS_SIZE);
                }
            }
            MountKind::Bind if self.source.is_some() => caps.push(caps::EXEC_MOUNT_BIND),
            MountKind::Bind => {}
        }
    }

    fn lower(&self, input: i64) -> pb::Mount {
        let content_cache = match self.content_cache {
            ContentCache::Default => pb::MountContentCache::Default,
            ContentCache::On => pb::MountContentCache::On,
            ContentCache::Off => pb::MountContentCache::Off,
        };
        let mut mount = pb::Mount {
            input,
            selector: self.source_path.clone(),
            dest: self.target.clone(),
            output: self.output,
            readonly: self.readonly,
            content_cache: content_cache.into(),
            ..pb::Mount::default()
        };
        match &self.kind {
            MountKind::Bind => {}
            MountKind::Cache { id, sharing } => {
                let sharing = match sharing {
                    Sharing::Shared => pb::CacheSharingOpt::Shared,
                    Sharing::Private => pb::CacheSharingOpt::Private,
                    Sharing::Locked => pb::CacheSharingOpt::Locked,
                };
                mount.mount_type = pb::MountType::Cache.into();
                mount.cache_opt = Some(pb::CacheOpt { id: id.clone(), sharing: sharing.into() });
            }
            MountKind::Tmpfs { size_bytes } => {
                mount.mount_type = pb::MountType::Tmpfs.into();
                mount.tmpfs_opt = Some(pb::TmpfsOpt { size: *size_bytes });
            }
        }
        mount
    }
}

impl ExecVertex {
    pub(crate) fn lower(
        &self,
        vertex: &Vertex,
        marshaller: &mut Marshaller<'_>,
    ) -> Result<Lowered, MarshalError> {
        if self.args.is_empty() {
            return Err(MarshalError::NoArguments);
        }
        let values = marshaller.values(&self.values)?;
        let mut caps = vec![caps::EXEC_META_BASE];
        let mut inputs: Vec<pb::Input> = Vec::new();
        let mut mounts = self.lower_mounts(vertex, marshaller, &mut inputs, &mut caps)?;
        mounts.extend(self.secrets.iter().filter_map(lower_secret));
        mounts.extend(self.ssh.iter().enumerate().map(|(n, ssh)| lower_ssh(n, ssh)));
        self.caps(vertex, &values, &mut caps);
        let os = marshaller.os(vertex);
        let exec = pb::ExecOp {
            meta: Some(self.meta(&values, marshaller.sets_default_path(), os, &mut caps)),
            mounts,
            network: match values.network {
                NetMode::Sandbox => pb::NetMode::Unset.into(),
                NetMode::Host => pb::NetMode::Host.into(),
                NetMode::None => pb::NetMode::None.into(),
            },
            security: match values.security {
                SecurityMode::Sandbox => pb::SecurityMode::Sandbox.into(),
                SecurityMode::Insecure => pb::SecurityMode::Insecure.into(),
            },
            secretenv: self.secrets.iter().filter_map(lower_secret_env).collect(),
            cdi_devices: self.devices.iter().map(lower_device).collect(),
        };
        let platform = vertex.constraints.platform.clone().or_else(|| values.platform.clone());
        Ok(Lowered { op: pb::op::Op::Exec(exec), inputs, caps, platform, with_platform: true })
    }

    fn lower_mounts(
        &self,
        vertex: &Vertex,
        marshaller: &mut Marshaller<'_>,
        inputs: &mut Vec<pb::Input>,
        caps: &mut Vec<&'static str>,
    ) -> Result<Vec<pb::Mount>, MarshalError> {
        let mut mounts = Vec::with_capacity(self.mounts.len());
        for mount in &self.mounts {
            mount.caps(caps);
            let source = match mount.source {
                Some(_) if matches!(mount.kind, MountKind::Tmpfs { .. }) => {
                    return Err(MarshalError::TmpfsSource);
                }
                Some(source) => marshaller.input(&vertex.inputs[source])?,
                None => None,
            };
            let input = source.map_or(-1, |source| add_input(inputs, source));
            mounts.push(mount.lower(input));
        }
        Ok(mounts)
    }

    fn caps(&self, vertex: &Vertex, values: &Values, caps: &mut Vec<&'static str>) {
        let needs = [
            (!values.ulimits.is_empty(), caps::EXEC_META_ULIMIT),
            (values.network != NetMode::Sandbox, caps::EXEC_META_NETWORK),
            (values.security != SecurityMode::Sandbox, caps::EXEC_META_SECURITY),
            (self.proxy.is_some(), caps::EXEC_META_PROXY),
            (self.valid_exit_codes.is_some(), caps::EXEC_VALID_EXIT_CODE),
            (!self.devices.is_empty(), caps::EXEC_META_CDI),
            (!self.secrets.is_empty(), caps::EXEC_MOUNT_SECRET),
            (self.secrets.iter().any(|secret| secret.env.is_some()), caps::EXEC_SECRET_ENV),
            (!self.ssh.is_empty(), caps::EXEC_MOUNT_SSH),
            (vertex.constraints.linux_resources.is_some(), caps::EXEC_META_LINUX_RESOURCES),
        ];
        caps.extend(needs.iter().filter(|(needed, _)| *needed).map(|(_, cap)| *cap));
    }

    fn meta(
        &self,
        values: &Values,
        sets_default_path: Option<bool>,
        os: &str,
        caps: &mut Vec<&'static str>,
    ) -> pb::Meta {
        let mut env: Vec<String> =
            values.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Some(ssh) = self.ssh.first()
            && values.env_value("SSH_AUTH_SOCK").is_none()
        {
            env.push(format!("SSH_AUTH_SOCK={}", ssh_target(0, ssh)));
        }
        match sets_default_path {
            Some(true) => caps.push(caps::EXEC_META_SETS_DEFAULT_PATH),
            // An old daemon starts commands without PATH, so it is written into the op.
            Some(false) if os != "windows" && values.env_value("PATH").is_none() => {
                env.push(format!("PATH={DEFAULT_PATH}"));
            }
            _ => {}
        }
        pb::Meta {
            args: self.args.clone(),
            env,
            cwd: values.dir.clone(),
            user: values.user.clone(),
            proxy_env: self.proxy.as_ref().map(lower_proxy),
            extra_hosts: values.extra_hosts.iter().map(lower_host).collect(),
            hostname: values.hostname.clone(),
            ulimit: values.ulimits.iter().map(lower_ulimit).collect(),
            cgroup_parent: values.cgroup_parent.clone(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: self.valid_exit_codes.clone().unwrap_or_default(),
        }
    }
}

/// Adds an input unless it is there, and returns its index.
pub(crate) fn add_input(inputs: &mut Vec<pb::Input>, input: pb::Input) -> i64 {
    let index = inputs.iter().position(|other| *other == input).unwrap_or_else(|| {
        inputs.push(input);
        inputs.len() - 1
    });
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn lower_secret(secret: &Secret) -> Option<pb::Mount> {
    let options = pb::SecretOpt {
        id: secret.id.clone(),
        uid: secret.uid,
        gid: secret.gid,
        mode: secret.mode.bits(),
        optional: secret.optional,
    };
    secret.target.as_ref().map(|target| pb::Mount {
        input: -1,
        dest: target.clone(),
        mount_type: pb::MountType::Secret.into(),
        secret_opt: Some(options),
        ..pb::Mount::default()
    })
}

fn lower_secret_env(secret: &Secret) -> Option<pb::SecretEnv> {
    let (id, optional) = (secret.id.clone(), secret.optional);
    secret.env.as_ref().map(|name| pb::SecretEnv { id, name: name.clone(), optional })
}

fn ssh_target(n: usize, ssh: &Ssh) -> String {
    if ssh.target.is_empty() { format!("/run/buildkit/ssh_agent.{n}") } else { ssh.target.clone() }
}

fn lower_ssh(n: usize, ssh: &Ssh) -> pb::Mount {
    let options = pb::SshOpt {
        id: ssh.id.clone(),
        uid: ssh.uid,
        gid: ssh.gid,
        mode: ssh.mode.bits(),
        optional: ssh.optional,
    };
    pb::Mount {
        input: -1,
        dest: ssh_target(n, ssh),
        mount_type: pb::MountType::Ssh.into(),
        ssh_opt: Some(options),
        ..pb::Mount::default()
    }
}

fn lower_device(device: &Device) -> pb::CdiDevice {
    pb::CdiDevice { name: device.name.clone(), optional: device.optional }
}

fn lower_proxy(proxy: &Proxy) -> pb::ProxyEnv {
    pb::ProxyEnv {
        http_proxy: proxy.http.clone(),
        https_proxy: proxy.https.clone(),
        ftp_proxy: proxy.ftp.clone(),
        no_proxy: proxy.no_proxy.clone(),
        all_proxy: proxy.all.clone(),
    }
}

fn lower_host((host, ip): &(String, IpAddr)) -> pb::HostIp {
    // The peer writes an IPv4 address that came in IPv6 clothes as IPv4.
    pb::HostIp { host: host.clone(), ip: ip.to_canonical().to_string() }
}

fn lower_ulimit(ulimit: &Ulimit) -> pb::Ulimit {
    pb::Ulimit { name: ulimit.name.clone(), soft: ulimit.soft, hard: ulimit.hard }
}
