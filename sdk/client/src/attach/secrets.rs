//! Secrets the daemon may have, by id.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_wire::proto::secrets::secrets_server::Secrets;
use kiln_wire::proto::secrets::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

/// The largest secret, in bytes.
const MAX_BYTES: usize = 500 << 10;

/// Where a secret's value comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Here it is.
    Value(Vec<u8>),
    /// A file, read when the daemon asks.
    File(PathBuf),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(hidden)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SecretsService(pub(crate) Arc<BTreeMap<String, SecretSource>>);

impl SecretsService {
    pub(crate) const METHODS: &[&str] = &["/moby.buildkit.secrets.v1.Secrets/GetSecret"];
}

#[tonic::async_trait]
impl Secrets for SecretsService {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let source =
            self.0.get(&id).ok_or_else(|| Status::not_found(format!("secret {id}: not found")))?;
        let value = match source {
            SecretSource::Value(value) => value.clone(),
            SecretSource::File(path) => tokio::fs::read(path).await.map_err(|error| {
                Status::failed_precondition(format!(
                    "cannot read secret {id} from {}: {error}",
                    path.display()
                ))
            })?,
        };
        if value.len() > MAX_BYTES {
            let size = value.len();
            return Err(Status::invalid_argument(format!(
                "secret {id} has {size} bytes, more than {MAX_BYTES}"
            )));
        }
        Ok(Response::new(GetSecretResponse { data: value.into() }))
    }
}
