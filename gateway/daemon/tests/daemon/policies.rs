//! What the client of a session decides on sources (`SourcePolicySession`).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::proto::control::SolveRequest;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::gateway::ResolveSourceMetaRequest;
use kiln_wire::proto::policysession::check_policy_response::Result as Answer;
use kiln_wire::proto::policysession::policy_verifier_server::{
    PolicyVerifier, PolicyVerifierServer,
};
use kiln_wire::proto::policysession::{
    CheckPolicyRequest, CheckPolicyResponse, DecisionResponse, DenyMessage,
};
use kiln_wire::proto::sourcepolicy::PolicyAction;
use kiln_wire::status::{Detail, RichStatus};
use prost::Message as _;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::kilnd::Kilnd;
use crate::session;

const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

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

#[tokio::test]
async fn the_client_decides_on_sources_and_may_ask_more() {
    let daemon = Kilnd::start();
    let mut control = ControlClient::new(daemon.client().await.channel());
    let decider = Decider::default();
    let routes = Routes::new(PolicyVerifierServer::new(decider.clone()));
    session::open(&control, "decides", &[METHOD], routes);
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
    let status = RichStatus::from_status(&status);
    let typed = status.details.iter().find_map(|detail| match detail {
        Detail::Other(any) if any.type_url.ends_with("policysession.DecisionResponse+json") => {
            serde_json::from_slice::<serde_json::Value>(&any.value).ok()
        }
        _ => None,
    });
    assert_eq!(typed.unwrap()["denyMessages"][0]["message"], "not today");
    assert_eq!(*decider.0.lock().unwrap(), ["local://a", "local://b", "local://b"]);
}
