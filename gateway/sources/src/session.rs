//! The client as sources see it: who has secrets, credentials, directories and layouts.
//!
//! [`Session`] is implemented by [`Clients`](crate::Clients), the sessions of a build, and by tests.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use kiln_graph::LocalSource;
use kiln_oci::Digest;
use kiln_registry::Credentials;

use crate::source::Cause;

/// Bytes of a blob, in order.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Cause>> + Send>>;

/// A socket that reaches the client's SSH agent, for as long as this value lives.
pub struct AgentSocket {
    /// Where it is.
    pub path: PathBuf,
    /// Whatever has to live meanwhile.
    pub guard: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for AgentSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentSocket").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What sources ask of a client. Dropping a future ends what it began.
#[async_trait]
pub trait Session: Send + Sync {
    /// The id of the session that answers.
    fn id(&self) -> &str;

    /// What this client calls itself across sessions; empty if it does not.
    fn shared_key(&self) -> &str;

    /// A secret by id, `None` if the client has none of that name or serves no secrets.
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Cause>;

    /// Logins for registries.
    fn credentials(&self) -> Arc<dyn Credentials>;

    /// Connects to an SSH agent of the client.
    async fn ssh_agent(&self, id: &str) -> Result<AgentSocket, Cause>;

    /// The bytes of a blob in an OCI layout of the client, from `offset` on. `session` is the
    /// session that has it, empty for this one.
    fn layout_blob(&self, session: &str, store: &str, digest: &Digest, offset: u64) -> ByteStream;

    /// Brings `destination` to the state of a directory of the client. `received` is told the
    /// number of bytes so far. `source.session` says which session is preferred.
    async fn receive(
        &self,
        source: &LocalSource,
        destination: &Path,
        received: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), Cause>;
}
