//! SSH agents, or any other sockets, the daemon may talk to, by id.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use kiln_wire::proto::sshforward::ssh_server::Ssh;
use kiln_wire::proto::sshforward::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use kiln_wire::tunnel;
use tokio::net::UnixStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::attach::header;

/// The agent a build gets that names none.
const DEFAULT: &str = "default";

#[derive(Debug, Clone)]
pub(crate) struct SshService(pub(crate) Arc<BTreeMap<String, PathBuf>>);

impl SshService {
    pub(crate) const METHODS: &[&str] =
        &["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

    fn agent(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        self.0.get(id).ok_or_else(|| Status::not_found(format!("unset ssh forward key {id}")))
    }
}

#[tonic::async_trait]
impl Ssh for SshService {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.agent(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        let path = self.agent(&header::first(request.metadata(), "buildkit.ssh.id")?)?;
        let agent = UnixStream::connect(path).await.map_err(|error| {
            Status::unavailable(format!(
                "cannot connect to the agent at {}: {error}",
                path.display()
            ))
        })?;
        let outgoing = tunnel::pump::<BytesMessage, _, _>(agent, request.into_inner());
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }
}
