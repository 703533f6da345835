//! What later commands inherit from a state: environment, directory, user and the like.
//!
//! A [`Values`] is plain data. States whose values are only known at marshal time (image configs,
//! deferred states) keep a list of [`Edit`]s instead and apply it then.

use std::sync::Arc;

use kiln_oci::{ImageConfig, Platform};

use crate::deferred::Deferred;
use crate::path;

/// How a command reaches the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetMode {
    /// The daemon's default: a network of its own.
    #[default]
    Sandbox,
    /// The host's network; needs an entitlement.
    Host,
    /// No network.
    None,
}

/// How much a command may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecurityMode {
    /// A container.
    #[default]
    Sandbox,
    /// All privileges; needs an entitlement.
    Insecure,
}

/// A limit on a process (`setrlimit`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// The limit in force; -1 is unlimited.
    pub soft: i64,
    /// The most the process may raise it to; -1 is unlimited.
    pub hard: i64,
}

crate::setters!(Ulimit {
    with_name(name: impl Into<String>),
    with_soft(soft: i64),
    with_hard(hard: i64),
});

/// What a command inherits from the state it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Values {
    /// Environment, ordered by last write. Shared by states that differ in other values.
    pub env: Arc<Vec<(String, String)>>,
    /// Working directory, absolute.
    pub dir: String,
    /// User and group, by name or number.
    pub user: String,
    /// Host name inside the container.
    pub hostname: String,
    /// Network.
    pub network: NetMode,
    /// Privileges.
    pub security: SecurityMode,
    /// Platform of the state, normalised.
    pub platform: Option<Platform>,
    /// More lines for `/etc/hosts`: host and address.
    pub extra_hosts: Vec<(String, std::net::IpAddr)>,
    /// Limits.
    pub ulimits: Vec<Ulimit>,
    /// Parent of the container's cgroup.
    pub cgroup_parent: String,
}

impl Values {
    /// The values of a state that nothing was said about.
    pub(crate) fn fresh() -> Self {
        Self { dir: "/".into(), ..Self::default() }
    }

    /// The value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether an edit would change nothing.
    fn has(&self, edit: &Edit) -> bool {
        match edit {
            Edit::Env(name, value) => {
                self.env.last().is_some_and(|(key, old)| key == name && old == value)
            }
            Edit::UnsetEnv(name) => self.env_value(name).is_none(),
            Edit::Dir(dir) => dir.starts_with('/') && *dir == self.dir,
            Edit::User(user) => *user == self.user,
            Edit::Hostname(hostname) => *hostname == self.hostname,
            Edit::Network(network) => *network == self.network,
            Edit::Security(security) => *security == self.security,
            Edit::Platform(platform) => self.platform.as_ref() == Some(platform),
            Edit::CgroupParent(parent) => *parent == self.cgroup_parent,
            Edit::Environment(env) => Arc::ptr_eq(env, &self.env),
            Edit::ExtraHost(..) | Edit::Ulimit(_) => false,
        }
    }

    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Env(name, value) => {
                let env = Arc::make_mut(&mut self.env);
                env.retain(|(key, _)| key != name);
                env.push((name.clone(), value.clone()));
            }
            Edit::UnsetEnv(name) => Arc::make_mut(&mut self.env).retain(|(key, _)| key != name),
            Edit::Environment(env) => self.env = Arc::clone(env),
            Edit::Dir(dir) if dir.starts_with('/') => self.dir.clone_from(dir),
            Edit::Dir(dir) => {
                let from = if self.dir.is_empty() { "/" } else { &self.dir };
                self.dir = path::join(from, dir);
            }
            Edit::User(user) => self.user.clone_from(user),
            Edit::Hostname(hostname) => self.hostname.clone_from(hostname),
            Edit::Network(network) => self.network = *network,
            Edit::Security(security) => self.security = *security,
            Edit::Platform(platform) => self.platform = Some(platform.clone()),
            Edit::ExtraHost(host, address) => self.extra_hosts.push((host.clone(), *address)),
            Edit::Ulimit(ulimit) => self.ulimits.push(ulimit.clone()),
            Edit::CgroupParent(parent) => self.cgroup_parent.clone_from(parent),
        }
    }
}

/// One change of values.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Env(String, String),
    UnsetEnv(String),
    Environment(Arc<Vec<(String, String)>>),
    Dir(String),
    User(String),
    Hostname(String),
    Network(NetMode),
    Security(SecurityMode),
    Platform(Platform),
    ExtraHost(String, std::net::IpAddr),
    Ulimit(Ulimit),
    CgroupParent(String),
}

impl Edit {
    /// What an image config says about the commands that follow. Its user is left out: BuildKit
    /// never applied it, and a frontend that wants it says so with `with_user`.
    pub(crate) fn of_image_config(config: &ImageConfig) -> Vec<Self> {
        let mut edits: Vec<Self> = Vec::new();
        for entry in &config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            if !name.is_empty() {
                edits.push(Self::Env(name.into(), value.into()));
            }
        }
        edits.push(Self::Dir(config.config.working_dir.clone()));
        if !config.platform.architecture.is_empty() && !config.platform.os.is_empty() {
            edits.push(Self::Platform(config.platform.clone().normalized()));
        }
        edits
    }
}

/// Values now, or values to be computed when the graph is marshalled.
#[derive(Clone, Debug)]
pub(crate) enum Inherited {
    Known(Arc<Values>),
    Deferred { from: Arc<Deferred>, edits: Arc<Vec<Edit>> },
}

impl Inherited {
    pub(crate) fn fresh() -> Self {
        Self::Known(Arc::new(Values::fresh()))
    }

    /// These values with changes, which are applied now if they can be.
    pub(crate) fn edited(&self, changes: impl IntoIterator<Item = Edit>) -> Self {
        match self {
            Self::Known(values) => {
                let mut values = Arc::clone(values);
                for edit in changes {
                    // Values may be large and are shared, so they are copied only to be changed.
                    if !values.has(&edit) {
                        Arc::make_mut(&mut values).apply(&edit);
                    }
                }
                Self::Known(values)
            }
            Self::Deferred { from, edits } => {
                let mut edits = Arc::clone(edits);
                Arc::make_mut(&mut edits).extend(changes);
                Self::Deferred { from: Arc::clone(from), edits }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_ordered_by_last_write() {
        let env = |name: &str, value: &str| Edit::Env(name.into(), value.into());
        let changes = [env("A", "1"), env("B", "2"), env("A", "3"), Edit::UnsetEnv("B".into())];
        let Inherited::Known(values) = Inherited::fresh().edited(changes) else { unreachable!() };
        assert_eq!(*values.env, [("A".to_owned(), "3".to_owned())]);
        assert_eq!(values.env_value("A"), Some("3"));
    }

    #[test]
    fn directories_are_relative_to_the_one_before() {
        let dir = |dir: &str| Edit::Dir(dir.into());
        let changes = [dir("/a"), dir("b/c"), dir("../d"), dir("")];
        let Inherited::Known(values) = Inherited::fresh().edited(changes) else { unreachable!() };
        assert_eq!(values.dir, "/a/b/d");
    }
}
