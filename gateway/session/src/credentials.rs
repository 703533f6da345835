//! Registry credentials and tokens of a client.
//!
//! A client may keep its password to itself and fetch tokens for the daemon. It then also has a
//! public key, so that a token may be reused for another session that proves to hold the same one.

use std::time::Duration;

use kiln_wire::proto::session_files::auth_client::AuthClient;
use kiln_wire::proto::session_files::{
    CredentialsRequest, FetchTokenRequest, GetTokenAuthorityRequest, VerifyTokenAuthorityRequest,
};

use crate::call::{CallError, within};
use crate::caller::Caller;

/// Credential helpers may have to wake up a key ring and its owner.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A user name and a password or identity token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Empty if `secret` is an identity token.
    pub username: String,
    /// Empty if the client has none.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a token is wanted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The daemon's name for itself.
    pub client_id: String,
    /// The registry.
    pub host: String,
    /// The address of the token service.
    pub realm: String,
    /// Its name for the registry.
    pub service: String,
    /// What the token must allow.
    pub scopes: Vec<String>,
}

/// A token a client fetched.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// The bearer token.
    pub token: String,
    /// How long it holds, in seconds; 0 if unknown.
    pub expires_in: i64,
    /// When it was issued, in seconds since 1970; 0 if unknown.
    pub issued_at: i64,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl Caller {
    /// The client's credentials for a registry.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; [`CallError::Unsupported`] if the client has none to give.
    pub async fn credentials(&self, host: &str) -> Result<Credentials, CallError> {
        let mut client = AuthClient::new(self.channel()?);
        let request = CredentialsRequest { host: host.to_owned() };
        let answer = self
            .run(within(
                TIMEOUT,
                format!("the credentials for {host}"),
                client.credentials(request),
            ))
            .await?;
        Ok(Credentials { username: answer.username, secret: answer.secret })
    }

    /// Has the client fetch a token.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; [`CallError::Unsupported`] if the daemon must do it itself.
    pub async fn fetch_token(&self, request: &TokenRequest) -> Result<Token, CallError> {
        let mut client = AuthClient::new(self.channel()?);
        let TokenRequest { client_id, host, realm, service, scopes } = request.clone();
        let what = format!("a token for {host}");
        let request = FetchTokenRequest { client_id, host, realm, service, scopes };
        let answer = self.run(within(TIMEOUT, what, client.fetch_token(request))).await?;
        Ok(Token {
            token: answer.token,
            expires_in: answer.expires_in,
            issued_at: answer.issued_at,
        })
    }

    /// The public key that stands for the client's credentials; `None` if it fetches no tokens.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn token_authority(
        &self,
        host: &str,
        salt: &[u8],
    ) -> Result<Option<Vec<u8>>, CallError> {
        let mut client = AuthClient::new(self.channel()?);
        let request =
            GetTokenAuthorityRequest { host: host.to_owned(), salt: salt.to_vec().into() };
        let call = within(TIMEOUT, "a token authority", client.get_token_authority(request));
        match self.run(call).await {
            Ok(answer) => Ok(Some(answer.public_key.to_vec()).filter(|key| !key.is_empty())),
            Err(CallError::Unsupported(_)) => Ok(None),
            Err(CallError::Refused { status, .. }) if status.code() == tonic::Code::Unavailable => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the client sign `payload` with the key of [`Caller::token_authority`].
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn verify_token_authority(
        &self,
        host: &str,
        payload: &[u8],
        salt: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        let mut client = AuthClient::new(self.channel()?);
        let request = VerifyTokenAuthorityRequest {
            host: host.to_owned(),
            payload: payload.to_vec().into(),
            salt: salt.to_vec().into(),
        };
        let call = within(TIMEOUT, "a token authority", client.verify_token_authority(request));
        Ok(self.run(call).await?.signed.to_vec())
    }
}
