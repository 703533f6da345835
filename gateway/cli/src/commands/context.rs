//! What every command is given.

use kiln_client::Client;

use crate::connect::connect;
use crate::embedded::{OwnDaemon, Purpose};
use crate::endpoint::Endpoint;
use crate::environment::Environment;

/// The surroundings of a command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where the daemon is.
    pub endpoint: Endpoint,
    /// What the process was given.
    pub environment: Environment,
    /// The daemon in this process, once there is one.
    pub own_daemon: OwnDaemon,
}

impl Context {
    /// Connects to the daemon, to build.
    ///
    /// # Errors
    ///
    /// If it cannot be reached.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        connect(&self.endpoint, &self.own_daemon, Purpose::Build).await
    }

    /// Connects to a daemon that can answer a question: also to that of another command, which builds
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// If none can be reached.
    pub(crate) async fn connect_to_ask(&self) -> anyhow::Result<Client> {
        connect(&self.endpoint, &self.own_daemon, Purpose::Ask).await
    }
}
