//! Source policies of a build: where sources are named they are judged, before anything asks for them.
//!
//! Rules come with the request, and frontends add their own, which are asked first. After the rules the
//! client may decide itself, over its session ([`BuildPolicies::session`]). A source that is
//! allowed may come back as another one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use kiln_frontend::grpc::{
    checksum_from_wire, platform_from_wire, source_from_wire, source_meta_to_wire,
};
use kiln_frontend::{SourceMeta, SourceRequest};
use kiln_graph::Identifier;
use kiln_policy::{EvaluateError, Policies, Policy, PolicyError, Source};
use kiln_session::{CallError, Caller};
use kiln_wire::pb;
use kiln_wire::proto::gateway::ResolveSourceMetaRequest;
use kiln_wire::proto::policysession::check_policy_response::Result as Answer;
use kiln_wire::proto::policysession::{CheckPolicyRequest, DecisionResponse};
use kiln_wire::proto::sourcepolicy::{self as wire, PolicyAction};
use kiln_wire::status::{Detail, RichStatus};
use prost_types::Any;
use serde_json::json;
use tonic::Code;

use crate::BuildBridge;

/// How often a client may ask back, or convert, before it decides on a source.
const MAX_QUESTIONS: usize = 10;
/// How long the session that decides may take to appear.
const APPEARS: Duration = Duration::from_secs(5);
/// About how many sources a client is asked at the same time.
const MOST_AT_ONCE: usize = 64;
/// The type of a detail that holds the words of a denial.
const DECISION: &str = "github.com/moby/buildkit/policysession.DecisionResponse+json";

/// The policies of one build.
#[derive(Clone, Debug, Default)]
pub struct BuildPolicies {
    /// Rules.
    pub rules: Policies,
    /// The session whose client decides after the rules; none if empty.
    pub session: String,
}

impl BuildPolicies {
    /// The rules of a request, compiled.
    ///
    /// # Errors
    ///
    /// If a rule cannot be understood, with its number.
    pub fn compile<'a>(
        rules: impl IntoIterator<Item = &'a wire::Policy>,
        session: String,
    ) -> Result<Self, PolicyError> {
        let rules: Result<_, _> = rules.into_iter().map(Policy::compile).collect();
        Ok(Self { rules: Policies::new(rules?), session })
    }

    /// These, with those of a frontend in front of them.
    fn after(&self, own: &[wire::Policy]) -> Result<Cow<'_, Self>, PolicyError> {
        if own.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let own = Self::compile(own, String::new())?;
        Ok(Cow::Owned(Self { rules: self.rules.after(&own.rules), session: self.session.clone() }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.session.is_empty()
    }
}

/// Why a source is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgeError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Rules(#[from] EvaluateError),
    #[error("the session {session} that decides on sources is not there: {source}")]
    Session { session: String, source: kiln_session::SessionError },
    #[error("{identifier}: {source}")]
    Call { identifier: String, source: CallError },
    #[error(
        "source {identifier:?} not allowed by policy: action {action}{}",
        messages.iter().map(|message| format!(": {message}")).collect::<String>()
    )]
    Denied { identifier: String, action: &'static str, messages: Vec<String> },
    #[error("invalid decision on {identifier:?}: {reason}")]
    Decision { identifier: String, reason: String },
    #[error("cannot resolve {identifier:?} for the policy: {source}")]
    Resolve { identifier: String, source: RichStatus },
}

impl JudgeError {
    /// As a status, after words on what was to be done.
    fn status(&self, what: &str) -> RichStatus {
        let code = match self {
            Self::Policy(_) | Self::Decision { .. } => Code::InvalidArgument,
            Self::Rules(_) | Self::Denied { .. } => Code::PermissionDenied,
            Self::Session { .. } | Self::Call { .. } => Code::Unavailable,
            Self::Resolve { source, .. } => source.code,
        };
        let status = RichStatus::new(code, format!("{what}: {self}"));
        match self {
            Self::Denied { messages, .. } if !messages.is_empty() => status.with(denial(messages)),
            _ => status,
        }
    }
}

impl BuildBridge {
    /// The bridge for a frontend that comes with policies of its own.
    pub(crate) fn with_policies(mut self, own: &[wire::Policy]) -> Result<Self, RichStatus> {
        let failed = |error: PolicyError| {
            JudgeError::from(error).status("error evaluating the source policy")
        };
        let policies = self.policies.after(own).map_err(failed)?.into_owned();
        self.policies = Arc::new(policies);
        Ok(self)
    }

    /// A definition with the sources that policies let it have.
    pub(crate) async fn judged<'a>(
        &self,
        definition: &'a pb::Definition,
        own: &[wire::Policy],
    ) -> Result<Cow<'a, pb::Definition>, RichStatus> {
        let failed = |error: JudgeError| error.status("error evaluating the source policy");
        let policies = self.policies.after(own).map_err(|error| failed(error.into()))?;
        if policies.is_empty() {
            return Ok(Cow::Borrowed(definition));
        }
        // Side by side: a client may decide on one source only when it is asked about another.
        let sources = kiln_policy::sources(definition).into_iter().map(async |vertex| {
            let judged = self.judge(&policies, vertex.source.clone(), vertex.platform).await?;
            // What is only spelt another way stays as it came, and so do the digests of the graph.
            Ok((judged != normalized(vertex.source)).then_some((vertex.digest, judged)))
        });
        let judged = futures::stream::iter(sources).buffer_unordered(MOST_AT_ONCE);
        let judged: Vec<_> = judged.try_collect().await.map_err(failed)?;
        let replacements: BTreeMap<_, _> = judged.into_iter().flatten().collect();
        match replacements.is_empty() {
            true => Ok(Cow::Borrowed(definition)),
            false => Ok(Cow::Owned(kiln_policy::replace(definition, &replacements))),
        }
    }

    /// The source that policies let somebody ask about.
    pub(crate) async fn judged_source(
        &self,
        source: pb::SourceOp,
        platform: Option<pb::Platform>,
        own: &[wire::Policy],
    ) -> Result<pb::SourceOp, RichStatus> {
        let failed = |error: JudgeError| error.status("could not resolve image due to policy");
        let policies = self.policies.after(own).map_err(|error| failed(error.into()))?;
        if policies.is_empty() {
            return Ok(source);
        }
        let judged = self.judge(&policies, source.into(), platform).await;
        judged.map(pb::SourceOp::from).map_err(failed)
    }

    pub(crate) fn judge<'a>(
        &'a self,
        policies: &'a BuildPolicies,
        source: Source,
        platform: Option<pb::Platform>,
    ) -> BoxFuture<'a, Result<Source, JudgeError>> {
        Box::pin(async move {
            let mut source = normalized(source);
            let mut facts = SourceMeta::default();
            let caller = self.decider(policies).await?;
            source = policies.rules.evaluate(source)?.source;
            let Some(caller) = caller else { return Ok(source) };
            for _ in 0..MAX_QUESTIONS {
                facts.source = source_from_wire(source.clone().into());
                let asked = CheckPolicyRequest {
                    platform: platform.clone(),
                    source: Some(source_meta_to_wire(facts.clone())),
                    ..CheckPolicyRequest::default()
                };
                let answer = caller.check_policy(asked).await;
                let answer = answer.map_err(|error| JudgeError::Call {
                    identifier: source.identifier.clone(),
                    source: error,
                })?;
                match answer.result {
                    Some(Answer::Request(wanted)) => facts = self.told(&source, wanted).await?,
                    Some(Answer::Decision(decision)) => match decided(&source, decision)? {
                        None => return Ok(source),
                        Some(other) => {
                            source = policies.rules.evaluate(normalized(other))?.source;
                            facts = SourceMeta::default();
                        }
                    },
                    None => return Err(no_decision(&source, "the client gave none")),
                }
            }
            Err(no_decision(&source, "too many policy requests"))
        })
    }

    async fn decider(&self, policies: &BuildPolicies) -> Result<Option<Caller>, JudgeError> {
        if policies.session.is_empty() {
            return Ok(None);
        }
        let found = self.worker().sessions().get(&policies.session, APPEARS).await;
        found
            .map(Some)
            .map_err(|source| JudgeError::Session { session: policies.session.clone(), source })
    }

    /// What a client wants to know of the source it decides on.
    fn told<'a>(
        &'a self,
        source: &'a Source,
        wanted: ResolveSourceMetaRequest,
    ) -> BoxFuture<'a, Result<SourceMeta, JudgeError>> {
        Box::pin(async move {
            let asked = wanted.source.map(Source::from).unwrap_or_default();
            if asked != *source {
                return Err(no_decision(source, "the policy asks about another source"));
            }
            let image = wanted.image.unwrap_or_default();
            let checksum = wanted.http.and_then(|http| http.checksum_request);
            let checksum = checksum.map(checksum_from_wire).transpose();
            let request = SourceRequest::default()
                .with_platform(wanted.platform.map(platform_from_wire))
                .with_resolve_mode(wanted.resolve_mode)
                .with_log_name(wanted.log_name)
                .with_git_object(wanted.git.is_some_and(|git| git.return_object))
                .with_no_config(image.no_config)
                .with_attestation_chain(image.attestation_chain)
                .with_attestations(image.resolve_attestations)
                .with_checksum(checksum.map_err(|reason| no_decision(source, &reason))?)
                .with_source_policies(Vec::new());
            let asked = source_from_wire(source.clone().into());
            let facts = self.resolve_allowed(asked, request).await;
            facts.map_err(|error| JudgeError::Resolve {
                identifier: source.identifier.clone(),
                source: error,
            })
        })
    }
}

/// `None` if the source is allowed as it is, or what to use in its place.
fn decided(source: &Source, decision: DecisionResponse) -> Result<Option<Source>, JudgeError> {
    let denied = |action| {
        let messages = decision.deny_messages.iter().map(|denial| denial.message.clone());
        let (identifier, messages) = (source.identifier.clone(), messages.collect());
        JudgeError::Denied { identifier, action, messages }
    };
    match PolicyAction::try_from(decision.action) {
        Ok(PolicyAction::Allow) => Ok(None),
        Ok(PolicyAction::Deny) => Err(denied("DENY")),
        Ok(PolicyAction::Convert) => match decision.update {
            Some(update) => Ok(Some(update.into())),
            None => Err(no_decision(source, "convert action requires updated source")),
        },
        Err(_) => Err(denied("unknown")),
    }
}

/// The words of a denial as clients look for them among the details of an error.
fn denial(messages: &[String]) -> Detail {
    let messages: Vec<_> = messages.iter().map(|message| json!({ "message": message })).collect();
    let decision = json!({ "action": PolicyAction::Deny as i32, "denyMessages": messages });
    Detail::Other(Any { type_url: DECISION.into(), value: decision.to_string().into_bytes() })
}

fn no_decision(source: &Source, reason: &str) -> JudgeError {
    JudgeError::Decision { identifier: source.identifier.clone(), reason: reason.to_owned() }
}

/// Rules know sources by their one spelling. What is no source is left as it is; whoever loads it
/// complains.
fn normalized(mut source: Source) -> Source {
    if let Ok(identifier) = Identifier::parse(&source.identifier, &source.attrs) {
        source.identifier = identifier.canonical();
    }
    source
}
