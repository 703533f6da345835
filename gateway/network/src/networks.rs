//! Which network processes get that ask for none in particular: decided once, when a daemon starts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_executor::{Executor, Spawner};
use kiln_proxy::Authority;

use crate::bridge::{Bridge, BridgeOptions};
use crate::cni::{Cni, CniOptions};
use crate::connected::Connected;
use crate::subnet::Subnet;
use crate::tap::Tap;

/// How processes are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By CNI plugins where these are configured, else by a bridge where one can be made or, in a user
    /// namespace, by a program of the user's, else as the daemon.
    Auto,
    /// As [`Self::Auto`], without the bridge; BuildKit's rule.
    AutoWithoutBridge,
    /// As the daemon.
    #[default]
    Host,
    /// By a bridge that the daemon makes.
    Bridge,
    /// By CNI plugins.
    Cni,
    /// Not at all: each process has a loopback of its own.
    None,
}

/// What networks are made from.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// How processes are connected.
    pub mode: Mode,
    /// Which CNI plugins make a network: a configuration (`.conf`, `.json`) or a list (`.conflist`).
    pub cni_config: PathBuf,
    /// The directory of CNI plugins.
    pub cni_binaries: PathBuf,
    /// How many networks are made ahead; a few for the bridge, and none by plugins, if not said.
    pub pool_size: Option<usize>,
    /// The name of the bridge.
    pub bridge: String,
    /// The addresses behind the bridge; some that are not in use, if not said.
    pub subnet: Option<Subnet>,
    /// The directory where daemons with the same bridge find one another, such as `/run/kiln/network`.
    pub run: PathBuf,
    /// A directory of this daemon's own: what plugins made, and are to remove after a crash.
    pub state: PathBuf,
    /// The environment of plugins.
    pub environment: Vec<(String, String)>,
}

/// Why processes cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refuses a step.
    #[error("{step}: {source}")]
    Refused {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Something else is in the way.
    #[error("{message}")]
    Conflict {
        /// What, and what helps.
        message: String,
    },
    /// A plugin, or its configuration, does not do.
    #[error("CNI: {message}")]
    Plugin {
        /// Which, and what it said.
        message: String,
    },
    /// The daemon is stopping.
    #[error("networks are closed, as the daemon is stopping")]
    Closed,
}

/// Says what was being done when the kernel refused it.
pub(crate) trait Step<T> {
    /// The error with the step.
    fn step(self, step: impl FnOnce() -> String) -> Result<T, NetworkError>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, NetworkError> {
        self.map_err(|error| NetworkError::Refused { step: step(), source: error.into() })
    }
}

/// The networks of a daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(crate) default: Arc<DefaultNetwork>,
    refused: Option<Arc<str>>,
    /// Made when the first process has a proxy.
    pub(crate) authority: Arc<Mutex<Option<Arc<Authority>>>>,
}

/// The network of processes that ask for none in particular.
#[derive(Debug)]
pub(crate) enum DefaultNetwork {
    Host,
    None,
    Bridge(Bridge),
    Cni(Arc<Cni>),
    Tap(Tap),
}

/// How many namespaces are made ahead, if not said.
pub(crate) const POOL_SIZE: usize = 4;
/// The addresses behind a bridge, if not said.
const SUBNET: (std::net::Ipv4Addr, u8) = (std::net::Ipv4Addr::new(10, 10, 0, 0), 16);

impl Networks {
    /// Makes what is needed. To be called on a runtime; it waits for the kernel, which takes some
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// What is in the way of a mode that was asked for; [`Mode::Auto`] does without.
    pub fn open(options: &NetworkOptions, spawner: &Spawner) -> Result<Self, NetworkError> {
        let cni = || Cni::open(CniOptions::of(options)).map(DefaultNetwork::Cni);
        let bridge = || Bridge::open(bridge_options(options)).map(DefaultNetwork::Bridge);
        let made = match options.mode {
            Mode::Host => Ok(DefaultNetwork::Host),
            Mode::None => Ok(DefaultNetwork::None),
            Mode::Cni => cni(),
            Mode::Bridge => bridge(),
            Mode::Auto | Mode::AutoWithoutBridge if options.cni_config.exists() => cni(),
            Mode::AutoWithoutBridge => Ok(DefaultNetwork::Host),
            Mode::Auto => match bridge().or_else(|error| tap(error, options, spawner)) {
                Err(error) => {
                    let refused = Some(error.to_string().into());
                    let default = Arc::new(DefaultNetwork::Host);
                    return Ok(Self { default, refused, authority: Arc::default() });
                }
                made => made,
            },
        };
        Ok(Self { default: Arc::new(made?), refused: None, authority: Arc::default() })
    }

    /// The kind of network that processes get: `host`, `bridge`, `cni`, `none`, or the program that
    /// connects them, `pasta` or `slirp4netns`.
    pub fn kind(&self) -> &'static str {
        match &*self.default {
            DefaultNetwork::Host => "host",
            DefaultNetwork::None => "none",
            DefaultNetwork::Bridge(_) => "bridge",
            DefaultNetwork::Cni(_) => "cni",
            DefaultNetwork::Tap(tap) => tap.program,
        }
    }

    /// The addresses behind the bridge, if there is one.
    pub fn subnet(&self) -> Option<Subnet> {
        match &*self.default {
            DefaultNetwork::Bridge(bridge) => Some(bridge.subnet),
            _ => None,
        }
    }

    /// Why processes are connected as the daemon, where they should have had a network of their own.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// An executor whose processes are connected: in front of `inner`, which is told the network.
    pub fn connect(&self, inner: Arc<dyn Executor>) -> Arc<dyn Executor> {
        Arc::new(Connected::new(inner, Arc::clone(&self.default)))
    }

    /// Removes what was made. Processes that still run lose their network.
    pub async fn close(&self) {
        match &*self.default {
            DefaultNetwork::Host | DefaultNetwork::None => {}
            DefaultNetwork::Bridge(bridge) => bridge.close().await,
            DefaultNetwork::Cni(cni) => cni.close().await,
            DefaultNetwork::Tap(tap) => tap.close().await,
        }
    }
}

/// Without rights over the network of the machine, what is left; `error` says why there is no bridge.
fn tap(
    error: NetworkError,
    options: &NetworkOptions,
    spawner: &Spawner,
) -> Result<DefaultNetwork, NetworkError> {
    if !kiln_executor::userns::inside() {
        return Err(error);
    }
    let made = Tap::open(options, spawner).map(DefaultNetwork::Tap);
    made.map_err(|second| NetworkError::Conflict { message: format!("{error}; {second}") })
}

fn bridge_options(options: &NetworkOptions) -> BridgeOptions {
    let default = Subnet::new(SUBNET.0, SUBNET.1);
    BridgeOptions {
        name: options.bridge.clone(),
        subnet: options.subnet.or(default).unwrap_or_else(|| unreachable!("a constant")),
        may_move: options.subnet.is_none(),
        pool_size: options.pool_size.filter(|size| *size > 0).unwrap_or(POOL_SIZE),
        run: options.run.clone(),
    }
}
