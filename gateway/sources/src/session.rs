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
use serde::{Deserialize, Serialize};

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

/// From where a working copy of a directory was filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The session that sent it; empty if that is not known.
    pub session: String,
    /// The directory, as its client tells it from all others; empty if the client does not.
    pub directory: String,
    /// When that began, in nanoseconds since 1970.
    pub at: i64,
}

/// What sources ask of a client. Dropping a future ends what it began.
#[async_trait]
pub trait Session: Send + Sync {
    /// The id of the session that answers.
    fn id(&self) -> &str;

    /// The ids of all sessions that may answer.
    fn ids(&self) -> Vec<String> {
        vec![self.id().to_owned()]
    }

    /// What the client whose directories are asked for calls itself across sessions; empty if it
    /// does not. `preferred` is the session that is asked first; it may not be open yet.
    async fn shared_key(&self, preferred: &str) -> String;

    /// A secret by id, `None` if the client has none of that name or serves no secrets. It is an error
    /// if there is no client.
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Cause>;

    /// Logins for registries.
    fn credentials(&self) -> Arc<dyn Credentials>;

    /// Connects to an SSH agent of the client.
    async fn ssh_agent(&self, id: &str) -> Result<AgentSocket, Cause>;

    /// The bytes of a blob in an OCI layout of the client, from `offset` on. `session` is the
    /// session that has it, empty for this one.
    fn layout_blob(&self, session: &str, store: &str, digest: &Digest, offset: u64) -> ByteStream;

    /// The bytes that the client uploads under an address such as `http://buildkit-session/ID`, of
    /// which `host` and `path` are parts. They can be had once.
    fn upload(&self, host: &str, path: &str) -> ByteStream;

    /// Brings `destination` to the state of a directory of the client, and says from where that was.
    /// `before` says the same of what is in it. `received` is told the number of bytes so far.
    /// `source.session` says which session is preferred.
    async fn receive(
        &self,
        source: &LocalSource,
        destination: &Path,
        before: &Origin,
        received: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Origin, Cause>;
}
