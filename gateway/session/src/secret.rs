//! Secrets, as the client has them.

use std::time::Duration;

use kiln_wire::proto::secrets::GetSecretRequest;
use kiln_wire::proto::secrets::secrets_client::SecretsClient;
use tonic::Code;

use crate::call::{CallError, within};
use crate::caller::Caller;

/// The largest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 500 << 10;

/// A secret may have to be fetched from somewhere, by whoever has the right to.
const TIMEOUT: Duration = Duration::from_secs(120);

impl Caller {
    /// A secret's value, or `None` if the client has none of this id.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, CallError> {
        let mut client = SecretsClient::new(self.channel()?);
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        let call = within(TIMEOUT, format!("secret `{id}`"), client.get_secret(request));
        let secret = match self.run(call).await {
            Ok(answer) => answer.data,
            Err(error) if error.code() == Some(Code::NotFound) => return Ok(None),
            // A client without secrets has none of this id either.
            Err(CallError::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if secret.len() > MAX_SECRET_BYTES {
            return Err(CallError::TooLarge { what: "a secret", limit: MAX_SECRET_BYTES });
        }
        Ok(Some(secret.to_vec()))
    }
}
