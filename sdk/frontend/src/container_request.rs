//! What a frontend asks of a container: its mounts, and a process in it.

use std::net::IpAddr;

use kiln_llb::{NetMode, SecurityMode};
use kiln_oci::Platform;
use kiln_wire::pb;
use kiln_wire::proto::gateway as wire;

use crate::Ref;
use crate::convert::platform_to_wire;

/// A container to make; it needs a mount at `/`.
///
/// ```
/// use kiln_frontend::containers::ContainerRequest;
/// # use kiln_frontend::Ref;
/// # let (built, sources) = (Ref("1".into()), Ref("2".into()));
/// let request = ContainerRequest::default()
///     .mount("/", Some(&built))
///     .readonly("/src", Some(&sources))
///     .tmpfs("/tmp");
/// # drop(request);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerRequest(pub(crate) wire::NewContainerRequest);

impl ContainerRequest {
    /// With a result that its processes may change for themselves; `None` is an empty directory.
    #[must_use]
    pub fn mount(self, target: &str, of: Option<&Ref>) -> Self {
        self.add(bind(target, of))
    }

    /// With a result that stays as it is; `None` is an empty directory.
    #[must_use]
    pub fn readonly(self, target: &str, of: Option<&Ref>) -> Self {
        self.add(pb::Mount { readonly: true, ..bind(target, of) })
    }

    /// With a directory in memory.
    #[must_use]
    pub fn tmpfs(self, target: &str) -> Self {
        self.add(pb::Mount { mount_type: pb::MountType::Tmpfs.into(), ..bind(target, None) })
    }

    /// With a directory that outlives the build. Equal ids are one directory.
    #[must_use]
    pub fn cache(self, target: &str, id: impl Into<String>) -> Self {
        let cache = pb::CacheOpt { id: id.into(), ..pb::CacheOpt::default() };
        let (mount_type, cache_opt) = (pb::MountType::Cache.into(), Some(cache));
        self.add(pb::Mount { mount_type, cache_opt, ..bind(target, None) })
    }

    /// How its processes reach the network.
    #[must_use]
    pub fn network(mut self, network: NetMode) -> Self {
        let network = match network {
            NetMode::Host => pb::NetMode::Host,
            NetMode::None => pb::NetMode::None,
            _ => pb::NetMode::Unset,
        };
        self.0.network = network.into();
        self
    }

    /// What its processes take for the name of the machine.
    #[must_use]
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.0.hostname = name.into();
        self
    }

    /// With a line in `/etc/hosts`.
    #[must_use]
    pub fn extra_host(mut self, name: impl Into<String>, address: IpAddr) -> Self {
        self.0.extra_hosts.push(pb::HostIp { host: name.into(), ip: address.to_string() });
        self
    }

    /// For a platform; the daemon's own unless it is said.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.0.platform = Some(platform_to_wire(platform));
        self
    }

    fn add(mut self, mount: pb::Mount) -> Self {
        self.0.mounts.push(mount);
        self
    }
}

fn bind(target: &str, of: Option<&Ref>) -> pb::Mount {
    pb::Mount {
        dest: target.to_owned(),
        result_id: of.map(|of| of.0.clone()).unwrap_or_default(),
        input: -1,
        output: -1,
        ..pb::Mount::default()
    }
}

/// A process to start in a container. Of its standard streams it has those that are asked for.
///
/// ```
/// use kiln_frontend::containers::ProcessRequest;
///
/// let request = ProcessRequest::new(["make", "check"]).dir("/src").env("CI", "1").output();
/// # drop(request);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessRequest(pub(crate) wire::InitMessage);

impl ProcessRequest {
    /// A program with its arguments, run by root in `/`.
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        let meta = pb::Meta { args, cwd: "/".to_owned(), ..pb::Meta::default() };
        Self(wire::InitMessage { meta: Some(meta), ..wire::InitMessage::default() })
    }

    /// In a directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.meta().cwd = dir.into();
        self
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.meta().env.push(format!("{name}={value}"));
        self
    }

    /// As a user, by name or number, perhaps with a group behind a colon.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.meta().user = user.into();
        self
    }

    /// How much it may do.
    #[must_use]
    pub fn security(mut self, security: SecurityMode) -> Self {
        let security = match security {
            SecurityMode::Insecure => pb::SecurityMode::Insecure,
            _ => pb::SecurityMode::Sandbox,
        };
        self.0.security = security.into();
        self
    }

    /// With standard input.
    #[must_use]
    pub fn input(mut self) -> Self {
        self.0.fds.push(0);
        self
    }

    /// With standard output and standard error.
    #[must_use]
    pub fn output(mut self) -> Self {
        self.0.fds.extend([1, 2]);
        self
    }

    /// With a terminal, which is all of its streams.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.0.tty = true;
        self
    }

    fn meta(&mut self) -> &mut pb::Meta {
        self.0.meta.get_or_insert_default()
    }
}

#[cfg(feature = "pb")]
impl From<wire::NewContainerRequest> for ContainerRequest {
    fn from(request: wire::NewContainerRequest) -> Self {
        Self(request)
    }
}

#[cfg(feature = "pb")]
impl From<ContainerRequest> for wire::NewContainerRequest {
    fn from(request: ContainerRequest) -> Self {
        request.0
    }
}

#[cfg(feature = "pb")]
impl From<wire::InitMessage> for ProcessRequest {
    fn from(request: wire::InitMessage) -> Self {
        Self(request)
    }
}

#[cfg(feature = "pb")]
impl From<ProcessRequest> for wire::InitMessage {
    fn from(request: ProcessRequest) -> Self {
        request.0
    }
}
