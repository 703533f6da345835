//! Registry credentials the daemon may have.
//!
//! Tokens are left to the daemon: the calls for them are answered as not implemented, after which it
//! asks for credentials and talks to the token service itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_wire::proto::session_files::auth_server::Auth as AuthTrait;
use kiln_wire::proto::session_files::{CredentialsRequest, CredentialsResponse};
use tonic::{Request, Response, Status};

use crate::attach::docker_config::{DockerConfig, Known};
use crate::attach::local_dirs::with_cause;

/// Where credentials come from.
#[derive(Clone, Default)]
pub struct Auth {
    given: BTreeMap<String, Known>,
    config: Option<PathBuf>,
}

impl Auth {
    /// Credentials from a `config.json` of Docker's, read each time the daemon asks.
    pub fn docker_config(path: impl Into<PathBuf>) -> Self {
        Self { config: Some(path.into()), ..Self::default() }
    }

    /// Adds credentials for one registry, which go before all others.
    #[must_use]
    pub fn with(mut self, host: &str, username: &str, secret: &str) -> Self {
        self.given.insert(
            host.to_owned(),
            Known { username: username.to_owned(), secret: secret.to_owned() },
        );
        self
    }

    /// The login for a registry, as user and secret; the user is empty if the secret is an identity
    /// token. `None` to go on without one.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be read, or a helper program fails.
    pub async fn login(&self, host: &str) -> Result<Option<(String, String)>, Status> {
        let Known { username, secret } = self.lookup(host).await?;
        Ok((!secret.is_empty()).then_some((username, secret)))
    }

    async fn lookup(&self, host: &str) -> Result<Known, Status> {
        if let Some(known) = self.given.get(host) {
            return Ok(known.clone());
        }
        let Some(path) = &self.config else { return Ok(Known::default()) };
        let config = DockerConfig::load(path)
            .map_err(|error| Status::failed_precondition(with_cause(&error)))?;
        config.lookup(host).await.map_err(|error| Status::failed_precondition(with_cause(&error)))
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("given", &self.given.keys())
            .field("config", &self.config)
            .finish()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct AuthService(pub(crate) Arc<Auth>);

impl AuthService {
    pub(crate) const METHODS: &[&str] = &["/moby.filesync.v1.Auth/Credentials"];
}

#[tonic::async_trait]
impl AuthTrait for AuthService {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let Known { username, secret } = self.0.lookup(&request.into_inner().host).await?;
        Ok(Response::new(CredentialsResponse { username, secret }))
    }
}
