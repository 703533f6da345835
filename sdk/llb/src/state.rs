//! [`State`]: an immutable description of a file system to come.

use std::net::IpAddr;
use std::sync::Arc;

use kiln_oci::{ImageConfig, Platform};

use crate::deferred::{BoxError, Deferral, Deferred};
use crate::values::{Edit, Inherited, NetMode, SecurityMode, Ulimit, Values};
use crate::vertex::Output;

/// A file system to come, and what commands on it inherit. Cheap to clone.
///
/// Every method gives a new state; nothing runs, and nothing fails before the state is marshalled.
///
/// ```
/// use kiln_llb::{Exec, Local, Marshal, Mount, State, args};
///
/// let source = State::local("context", Local::default());
/// let built = State::image("docker.io/library/golang:1.25")
///     .with_dir("/src")
///     .with_env("CGO_ENABLED", "0")
///     .run(
///         Exec::args(args!["go", "build", "-o", "/out/app", "."])
///             .with_mounts(vec![Mount::bind("/src", &source).readonly()]),
///     )
///     .with_mount(Mount::bind("/out", &State::scratch()));
/// let definition = built.mount("/out").unwrap().marshal(&Marshal::default()).unwrap();
/// assert_eq!(definition.len(), 4); // two sources, the command, and which output is meant
/// ```
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) output: Option<Output>,
    pub(crate) values: Inherited,
}

impl State {
    /// An empty file system.
    pub fn scratch() -> Self {
        Self { output: None, values: Inherited::fresh() }
    }

    /// Whether this is an empty file system. A deferred state may still become one.
    pub fn is_scratch(&self) -> bool {
        self.output.is_none()
    }

    /// What commands on this state inherit, unless it is only known when the graph is marshalled.
    pub fn values(&self) -> Option<&Values> {
        match &self.values {
            Inherited::Known(values) => Some(values),
            Inherited::Deferred { .. } => None,
        }
    }

    /// A fresh state on an output.
    pub(crate) fn on(output: Output) -> Self {
        Self::scratch().with_output(Some(output))
    }

    /// A fresh state on what may be an output.
    pub(crate) fn from_output(output: Option<Output>) -> Self {
        Self::scratch().with_output(output)
    }

    /// The same values on another output, which brings its platform.
    pub(crate) fn with_output(&self, output: Option<Output>) -> Self {
        let platform = output.as_ref().and_then(Output::platform).cloned();
        let platform = platform.map(|platform| Edit::Platform(platform.normalized()));
        let values = match platform {
            Some(edit) => self.values.edited([edit]),
            None => self.values.clone(),
        };
        Self { output, values }
    }

    fn edited(&self, edit: Edit) -> Self {
        Self { output: self.output.clone(), values: self.values.edited([edit]) }
    }

    /// Sets an environment variable and moves it to the end.
    #[must_use]
    pub fn with_env(&self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.edited(Edit::Env(name.into(), value.into()))
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without_env(&self, name: impl Into<String>) -> Self {
        self.edited(Edit::UnsetEnv(name.into()))
    }

    /// Replaces the whole environment. Names are there once each, in the order in which commands get
    /// them. Costs the same however large the environment is, which setting its variables one by one
    /// does not.
    #[must_use]
    pub fn with_environment(&self, env: Vec<(String, String)>) -> Self {
        self.edited(Edit::Environment(Arc::new(env)))
    }

    /// Changes the working directory; a relative one starts at the current one.
    #[must_use]
    pub fn with_dir(&self, dir: impl Into<String>) -> Self {
        self.edited(Edit::Dir(dir.into()))
    }

    /// Sets user and group, as `user[:group]`.
    #[must_use]
    pub fn with_user(&self, user: impl Into<String>) -> Self {
        self.edited(Edit::User(user.into()))
    }

    /// Sets the host name of containers.
    #[must_use]
    pub fn with_hostname(&self, hostname: impl Into<String>) -> Self {
        self.edited(Edit::Hostname(hostname.into()))
    }

    /// Sets the network of containers.
    #[must_use]
    pub fn with_network(&self, network: NetMode) -> Self {
        self.edited(Edit::Network(network))
    }

    /// Sets what containers may do.
    #[must_use]
    pub fn with_security(&self, security: SecurityMode) -> Self {
        self.edited(Edit::Security(security))
    }

    /// Sets the platform of commands, normalised.
    #[must_use]
    pub fn with_platform(&self, platform: Platform) -> Self {
        self.edited(Edit::Platform(platform.normalized()))
    }

    /// Adds a line to `/etc/hosts`.
    #[must_use]
    pub fn with_extra_host(&self, host: impl Into<String>, address: IpAddr) -> Self {
        self.edited(Edit::ExtraHost(host.into(), address))
    }

    /// Adds a limit.
    #[must_use]
    pub fn with_ulimit(&self, ulimit: Ulimit) -> Self {
        self.edited(Edit::Ulimit(ulimit))
    }

    /// Sets the parent of containers' cgroups.
    #[must_use]
    pub fn with_cgroup_parent(&self, parent: impl Into<String>) -> Self {
        self.edited(Edit::CgroupParent(parent.into()))
    }

    /// Takes environment, working directory and platform from an image config. Its user is not
    /// taken: say [`State::with_user`].
    #[must_use]
    pub fn with_image_config(&self, config: &ImageConfig) -> Self {
        let values = self.values.edited(Edit::of_image_config(config));
        Self { output: self.output.clone(), values }
    }

    /// The same file system with the values of another state.
    ///
    /// As with BuildKit, the working directory starts anew at `/` — unless the file system brings a
    /// platform of its own: then that platform stays, and the directory is taken too.
    #[must_use]
    pub fn with_values_of(&self, other: &Self) -> Self {
        let own = self.output.as_ref().and_then(Output::platform);
        let edit = match own {
            Some(platform) => Edit::Platform(platform.clone().normalized()),
            None => Edit::Dir("/".into()),
        };
        Self { output: self.output.clone(), values: other.values.edited([edit]) }
    }

    /// A state that is made from this one when the graph is marshalled, once per marshal call.
    #[must_use]
    pub fn deferred(
        &self,
        make: impl Fn(Self, &Deferral<'_>) -> Result<Self, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let deferred = Arc::new(Deferred::new(self.clone(), make));
        Self {
            output: Some(Output::Deferred(Arc::clone(&deferred))),
            values: Inherited::Deferred { from: deferred, edits: Arc::default() },
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::scratch()
    }
}
