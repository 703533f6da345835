//! Errors of the crates below as an operation's, and what else every operation on files uses.

use futures::future::BoxFuture;
use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_session::CallError;
use kiln_sources::ClientsError;
use kiln_store::{Files, Ref, Requester};

/// An error of another crate as an operation's.
pub fn failed(error: &(dyn std::error::Error + 'static)) -> OpError {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let kind = chain.filter_map(kind).next();
    OpError::from_error(kind.unwrap_or(ErrorKind::Failed), error)
}

/// What kind of failure an error is by itself, if it is one that is acted on.
fn kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    if error.to_string().contains("no space left on device") {
        return Some(ErrorKind::Exhausted);
    }
    if error.is::<kiln_store::LostLayer>() {
        return Some(ErrorKind::Lost);
    }
    // Others that share the operation may have a client that is there.
    let is_gone = match error.downcast_ref::<ClientsError>() {
        Some(ClientsError::Session(_)) => true,
        Some(ClientsError::Call(error)) => matches!(error, CallError::Ended(_)),
        None => matches!(error.downcast_ref::<CallError>(), Some(CallError::Ended(_))),
    };
    is_gone.then_some(ErrorKind::Unavailable)
}

/// Runs file work away from the tasks that must answer quickly.
///
/// # Errors
///
/// The work's own.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OpError::new(ErrorKind::Failed, format!("internal error: {error}"))),
    }
}

/// For whom files are fetched.
pub fn requester(job: &JobContext) -> Requester {
    Requester::of(job.sessions.ids(), &job.vertex, &job.progress)
}

/// The files of a result, fetched if they are not here; nothing for the empty file system.
///
/// # Errors
///
/// If they cannot be had.
pub fn files<'a>(
    result: Option<&'a Ref>,
    requester: &'a Requester,
) -> BoxFuture<'a, Result<Option<Files>, OpError>> {
    Box::pin(async move {
        match result {
            None => Ok(None),
            Some(result) => result.files(requester).await.map(Some).map_err(|error| failed(&error)),
        }
    })
}
