//! The trait a build language implements, and the guard around a call of it.

use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use futures::FutureExt;

use crate::{Bridge, BuildResult, FrontendError, Ref};

/// A build language: turns one request into a result, through a bridge.
#[async_trait]
pub trait Frontend: Send + Sync {
    /// Builds what the options of [`Bridge::info`] ask for.
    ///
    /// # Errors
    ///
    /// Whatever the user should read; sources named in it point into the user's file.
    ///
    /// # Cancellation
    ///
    /// Dropping the future must be enough.
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError>;
}

/// Calls a frontend and turns a panic into an error, so that one build cannot end a daemon.
///
/// # Errors
///
/// The frontend's own, or an internal error that carries the panic's message.
pub async fn run(
    frontend: &dyn Frontend,
    bridge: &dyn Bridge,
) -> Result<BuildResult<Ref>, FrontendError> {
    match AssertUnwindSafe(frontend.solve(bridge)).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(FrontendError::internal(format!(
                "frontend panicked: {}",
                text.unwrap_or_else(|| "no message".into())
            )))
        }
    }
}
