//! A daemon of a few lines: real sessions, and a script instead of a build.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use kiln_client::Client;
use kiln_session::{Caller, Health, SessionManager};
use kiln_wire::channel;
use kiln_wire::proto::control::control_server::{Control, ControlServer};
use kiln_wire::proto::control::{
    BytesMessage, SolveRequest, SolveResponse, StatusRequest, StatusResponse, Vertex,
};
use kiln_wire::proto::gateway;
use kiln_wire::proto::gateway::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use kiln_wire::status::RichStatus;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// What exporters and caches say.
pub(crate) type Answers = BTreeMap<String, String>;
/// What the daemon does instead of a build.
pub(crate) type Script =
    Arc<dyn Fn(Caller, SolveRequest) -> BoxFuture<'static, Result<Answers, Status>> + Send + Sync>;

/// The digest of the only vertex.
pub(crate) const VERTEX: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Daemon {
    sessions: SessionManager,
    script: Script,
    /// What a frontend in the client returned.
    returned: tokio::sync::Mutex<mpsc::Receiver<gateway::ReturnRequest>>,
}

#[tonic::async_trait]
impl Control for Daemon {
    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        let (metadata, _, incoming) = request.into_parts();
        let outgoing = self.sessions.handle(&metadata, incoming);
        let outgoing = outgoing.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }

    async fn solve(
        &self,
        request: Request<SolveRequest>,
    ) -> Result<Response<SolveResponse>, Status> {
        let request = request.into_inner();
        let caller = self.sessions.get(&request.session, Duration::from_secs(5)).await;
        let caller = caller.map_err(|error| Status::not_found(error.to_string()))?;
        if request.definition.is_none() && request.frontend.is_empty() {
            let returned = self.returned.lock().await.recv().await.unwrap_or_default();
            if let Some(error) = returned.error {
                return Err(RichStatus::from_rpc(error).to_status());
            }
        }
        let exporter_response = (self.script)(caller, request).await?;
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<BoxStream<StatusResponse>>, Status> {
        let name = request.into_inner().r#ref;
        let vertex = Vertex { digest: VERTEX.into(), name, ..Vertex::default() };
        let update = StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() };
        Ok(Response::new(futures::stream::iter([Ok(update)]).boxed()))
    }
}

struct Bridge(mpsc::Sender<gateway::ReturnRequest>);

#[tonic::async_trait]
impl LlbBridge for Bridge {
    async fn ping(
        &self,
        request: Request<gateway::PingRequest>,
    ) -> Result<Response<gateway::PongResponse>, Status> {
        if !request.metadata().contains_key("buildkit-controlapi-buildid") {
            return Err(Status::invalid_argument("no buildid found in context"));
        }
        Ok(Response::new(gateway::PongResponse::default()))
    }

    async fn r#return(
        &self,
        request: Request<gateway::ReturnRequest>,
    ) -> Result<Response<gateway::ReturnResponse>, Status> {
        self.0.send(request.into_inner()).await.ok();
        Ok(Response::new(gateway::ReturnResponse {}))
    }
}

/// Starts a daemon in this process and connects to it.
pub(crate) async fn daemon(script: Script) -> Client {
    let (near, far) = tokio::io::duplex(256 << 10);
    let (returns, returned) = mpsc::channel(1);
    let sessions = SessionManager::new(Health::default());
    let daemon = Daemon { sessions, script, returned: tokio::sync::Mutex::new(returned) };
    let router = channel::server()
        .add_service(ControlServer::new(daemon))
        .add_service(LlbBridgeServer::new(Bridge(returns)));
    tokio::spawn(channel::serve(router, far));
    Client::from_io(near).await.expect("the daemon is in this process")
}

/// A script out of a closure.
pub(crate) fn script<F>(body: impl Fn(Caller, SolveRequest) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = Result<Answers, Status>> + Send + 'static,
{
    Arc::new(move |caller, request| Box::pin(body(caller, request)))
}

/// An error in the words of its innermost cause, as a status.
pub(crate) fn status(error: impl std::error::Error) -> Status {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Status::aborted(text)
}
