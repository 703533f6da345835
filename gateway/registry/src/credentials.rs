//! Whose name requests are made in.
//!
//! The session of a build implements [`Credentials`] by asking its client; the daemon itself only
//! ever sees what it needs for the next request. Nothing here is written down.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// Why credentials could not be had.
pub type CredentialsError = Box<dyn Error + Send + Sync>;

/// A login at one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user; empty if `secret` is an identity (refresh) token.
    pub username: String,
    /// The password, access key or identity token.
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a token is wanted for (Docker token authentication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The program that asks, a word without spaces.
    pub client_id: String,
    /// The registry's host and port.
    pub host: String,
    /// The address of the authorization server.
    pub realm: String,
    /// The service the token is for, as the registry calls itself.
    pub service: String,
    /// Such as `repository:library/alpine:pull`, sorted.
    pub scopes: Vec<String>,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What goes behind `Bearer`.
    pub token: String,
    /// How long it is good for from now on; `None` is the protocol's 60 seconds.
    pub expires_in: Option<Duration>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Answers for one identity, usually the session of one build.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Tokens are shared between requests of the same identity and never between different ones.
    fn identity(&self) -> &str;

    /// The login for a registry, `None` to go on without one.
    ///
    /// `host` is where requests go, so Docker Hub is `registry-1.docker.io`.
    async fn credentials(&self, host: &str) -> Result<Option<Credential>, CredentialsError>;

    /// A token fetched on the client's side, so that the secret stays there; `None` if the client
    /// does not do that, and [`Credentials::credentials`] is asked instead.
    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, CredentialsError>;
}

/// Everything anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    fn identity(&self) -> &'static str {
        "anonymous"
    }

    async fn credentials(&self, _host: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(None)
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, CredentialsError> {
        Ok(None)
    }
}

/// One login for one host, anonymous elsewhere.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    identity: String,
    host: String,
    credential: Credential,
}

impl StaticCredentials {
    /// A login for `host`.
    pub fn new(host: &str, username: &str, secret: &str) -> Self {
        let credential = Credential { username: username.into(), secret: secret.into() };
        // The identity must differ between logins, and must not show the secret.
        let identity = kiln_oci::Digest::sha256(format!("{host}\0{username}\0{secret}"));
        Self { identity: format!("static:{}", identity.hex()), host: host.into(), credential }
    }
}

#[async_trait]
impl Credentials for StaticCredentials {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok((host == self.host).then(|| self.credential.clone()))
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, CredentialsError> {
        Ok(None)
    }
}
