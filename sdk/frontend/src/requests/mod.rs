//! Sub-requests: questions about a file that are no build (option `requestid`).
//!
//! A frontend gives its [`Answers`]; [`answer`] finds out which one is asked for and writes it as
//! `result.json`, `result.txt` and `version`, the way buildctl, buildx and editors read them.

mod answer;
mod convert;
mod describe;
mod lint;
mod outline;
mod table;
mod targets;

use async_trait::async_trait;

use crate::{BuildResult, FrontendError, Ref};

pub use convert::ConvertedLlb;
pub use lint::{BuildError, LintResults, LintWarning};
pub use outline::{Arg, CacheMount, Needed, Outline};
pub use targets::{Target, TargetList};

/// Which sub-requests are there?
pub const DESCRIBE: &str = "frontend.subrequests.describe";
/// What does a target take?
pub const OUTLINE: &str = "frontend.outline";
/// Which targets are there?
pub const TARGETS: &str = "frontend.targets";
/// What is doubtful?
pub const LINT: &str = "frontend.lint";
/// Which graph is it?
pub const CONVERT_LLB: &str = "frontend.convertllb";

/// What a frontend answers to sub-requests. `None` is a request it does not know.
#[async_trait]
pub trait Answers: Send + Sync {
    /// Whether [`Answers::outline`] has an answer, for the list of requests.
    fn has_outline(&self) -> bool {
        true
    }

    /// Whether [`Answers::targets`] has an answer, for the list of requests.
    fn has_targets(&self) -> bool {
        true
    }

    /// What the target takes.
    async fn outline(&self) -> Result<Option<Outline>, FrontendError> {
        Ok(None)
    }

    /// What there is to build.
    async fn targets(&self) -> Result<Option<TargetList>, FrontendError> {
        Ok(None)
    }

    /// What is doubtful.
    async fn lint(&self) -> Result<Option<LintResults>, FrontendError> {
        Ok(None)
    }

    /// The graph of the target.
    async fn convert_llb(&self) -> Result<Option<ConvertedLlb>, FrontendError> {
        Ok(None)
    }
}

/// Answers a sub-request by its name.
///
/// # Errors
///
/// The frontend's own, or that it does not know the request.
pub async fn answer(
    request: &str,
    answers: &dyn Answers,
) -> Result<BuildResult<Ref>, FrontendError> {
    let found = match request {
        DESCRIBE => Some(describe::describe(answers.has_outline(), answers.has_targets())),
        OUTLINE => answers.outline().await?.map(|outline| outline.to_result()),
        TARGETS => answers.targets().await?.map(|targets| targets.to_result()),
        LINT => answers.lint().await?.map(|lint| lint.to_result()),
        CONVERT_LLB => answers.convert_llb().await?.map(|converted| converted.to_result()),
        _ => None,
    };
    found.ok_or_else(|| FrontendError::unsupported_request(request))
}
