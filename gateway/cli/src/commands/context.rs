//! What every command is given.

use kiln_client::Client;

use crate::connect::connect;
use crate::endpoint::Endpoint;
use crate::environment::Environment;

/// The surroundings of a command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where the daemon is.
    pub endpoint: Endpoint,
    /// What the process was given.
    pub environment: Environment,
}

impl Context {
    /// Connects to the daemon.
    ///
    /// # Errors
    ///
    /// If it cannot be reached.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        connect(&self.endpoint).await
    }
}
