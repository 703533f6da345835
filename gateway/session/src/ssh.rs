//! SSH agents, and other sockets, of a client.

use std::time::Duration;

use futures::FutureExt;
use futures::stream::StreamExt;
use kiln_wire::proto::sshforward::ssh_client::SshClient;
use kiln_wire::proto::sshforward::{BytesMessage, CheckAgentRequest};
use kiln_wire::tunnel::{self, Tunnel};
use tonic::{Request, Status};

use crate::call::{CallError, answers, within};
use crate::caller::Caller;
use crate::header;

const TIMEOUT: Duration = Duration::from_secs(60);
/// The agent a build gets that names none.
const DEFAULT: &str = "default";

impl Caller {
    /// Asks whether the client forwards an agent of this id; the empty id is `default`.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; a client that has no such agent refuses and says so.
    pub async fn ssh_check(&self, id: &str) -> Result<(), CallError> {
        let mut client = SshClient::new(self.channel()?);
        let request = CheckAgentRequest { id: named(id).to_owned() };
        let what = format!("SSH agent `{}`", named(id));
        self.run(within(TIMEOUT, what, client.check_agent(request))).await?;
        Ok(())
    }

    /// Opens one connection to an agent. The stream ends with the session.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; what goes wrong later ends the stream.
    pub fn ssh_forward(&self, id: &str) -> Result<Tunnel<BytesMessage>, CallError> {
        let mut client = SshClient::new(self.channel()?);
        let (connect, connected) = tokio::sync::oneshot::channel();
        let connected = connected
            .map(|answers| answers.map_err(|_| Status::cancelled("the call was not made")));
        let incoming = futures::stream::once(connected)
            .flat_map(|answers: Result<_, Status>| match answers {
                Ok(answers) => answers,
                Err(status) => futures::stream::once(async { Err(status) }).boxed(),
            })
            .boxed();
        let caller = self.clone();
        let incoming = incoming.take_until(async move { caller.cancelled().await });
        let (io, outgoing) = tunnel::join::<BytesMessage, _>(Box::pin(incoming));
        let mut call = Request::new(outgoing);
        header::append(call.metadata_mut(), "buildkit.ssh.id", &[named(id)])?;
        connect.send(answers(async move { client.forward_agent(call).await })).ok();
        Ok(io)
    }
}

fn named(id: &str) -> &str {
    if id.is_empty() { DEFAULT } else { id }
}
