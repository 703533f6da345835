//! What the client of a session decides on sources (`SourcePolicySession`).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{StreamExt as _, TryFutureExt as _};
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{BytesMessage, SolveRequest};
use kiln_wire::proto::gateway::ResolveSourceMetaRequest;
use kiln_wire::proto::policysession::check_policy_response::Result as Answer;
use kiln_wire::proto::policysession::policy_verifier_server::{
    PolicyVerifier, PolicyVerifierServer,
};
use kiln_wire::proto::policysession::{
    CheckPolicyRequest, CheckPolicyResponse, DecisionResponse, DenyMessage,
};
use kiln_wire::proto::sourcepolicy::PolicyAction;
use kiln_wire::{channel, tunnel};
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::kilnd::Kilnd;

/// Makes `a` of `local://a`, asks for more about `local://b`, and denies it then.
#[derive(Clone, Default)]
struct Decider(Arc<Mutex<Vec<String>>>);

fn local(name: &str) -> pb::SourceOp {
    pb::SourceOp { identifier: format!("local://{name}"), ..Default::default() }
}

#[async_trait]
impl PolicyVerifier for Decider {
    async fn check_policy(
        &self,
        request: Request<CheckPolicyRequest>,
    ) -> Result<Response<CheckPolicyResponse>, Status> {
        let source = request.into_inner().source.unwrap_or_default().source.unwrap_or_default();
        let mut asked = self.0.lock().unwrap();
        asked.push(source.identifier.clone());
        let result = match (source.identifier.as_str(), asked.len()) {
            ("local://a", _) => Answer::Decision(DecisionResponse {
                action: PolicyAction::Convert.into(),
                update: Some(local("b")),
                ..DecisionResponse::default()
            }),
            (_, 2) => Answer::Request(ResolveSourceMetaRequest {
                source: Some(source),
                ..ResolveSourceMetaRequest::default()
            }),
            _ => Answer::Decision(DecisionResponse {
                action: PolicyAction::Deny.into(),
                deny_messages: vec![DenyMessage { message: "not today".into() }],
                update: None,
            }),
        };
        Ok(Response::new(CheckPolicyResponse { result: Some(result) }))
    }
}

/// Opens a session in which the client decides.
fn open(control: &ControlClient<Channel>, id: &str, decider: Decider) {
    let (promise, promised) = tokio::sync::oneshot::channel();
    let incoming = promised.map_err(|_| Status::cancelled("not opened")).try_flatten_stream();
    let (io, outgoing) = tunnel::join::<BytesMessage, _>(Box::pin(incoming));
    let mut request = Request::new(outgoing);
    let method = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";
    for (name, value) in [
        ("x-docker-expose-session-uuid", id),
        ("x-docker-expose-session-name", "policy"),
        ("x-docker-expose-session-grpc-method", method),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let mut control = control.clone();
    let call = async move { control.session(request).await.map(Response::into_inner) };
    promise.send(call.try_flatten_stream().boxed()).ok();
    let (_, health) = tonic_health::server::health_reporter();
    let router =
        channel::server().add_service(health).add_service(PolicyVerifierServer::new(decider));
    tokio::spawn(channel::serve(router, io));
}

#[tokio::test]
async fn the_client_decides_on_sources_and_may_ask_more() {
    let daemon = Kilnd::start();
    let mut control = ControlClient::new(daemon.client().await.channel());
    let decider = Decider::default();
    open(&control, "decides", decider.clone());
    let source = pb::Op { op: Some(pb::op::Op::Source(local("a"))), ..Default::default() };
    let source = source.encode_to_vec();
    let input = pb::Input { digest: Digest::sha256(&source).to_string(), index: 0 };
    let terminal = pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec();
    let def = vec![source.into(), terminal.into()];
    let request = SolveRequest {
        r#ref: "build".into(),
        definition: Some(pb::Definition { def, ..Default::default() }),
        source_policy_session: "decides".into(),
        ..SolveRequest::default()
    };
    let status = control.solve(request).await.unwrap_err();
    let words = "source \"local://b\" not allowed by policy: action DENY: not today";
    assert!(status.message().contains(words), "{status:?}");
    assert_eq!(*decider.0.lock().unwrap(), ["local://a", "local://b", "local://b"]);
}
