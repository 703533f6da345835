//! One call to a client: bounded in time, over when the session is, with errors that say which call.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use kiln_filesync::{ReceiveError, SendError};
use tonic::{Code, Response, Status, Streaming};

use crate::waiting;

/// What a client is asked for, in words.
type What = Cow<'static, str>;

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {id} ended: {cause}")]
pub struct Ended {
    /// The session.
    pub id: String,
    /// What happened.
    pub cause: String,
}

/// Why a call to a client failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The client does not serve it.
    #[error("the client does not offer {0}")]
    Unsupported(What),
    /// The session is over.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The client took too long.
    #[error("the client did not answer {what} within {limit:?}")]
    TimedOut {
        /// The call.
        what: What,
        /// The limit.
        limit: Duration,
    },
    /// The client refused.
    #[error("{what} failed at the client: {}", status.message())]
    Refused {
        /// The call.
        what: What,
        /// What the client said.
        status: Box<Status>,
    },
    /// The client sent more than it may.
    #[error("{what} from the client is larger than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The client sent something that makes no sense.
    #[error("invalid answer from the client: {0}")]
    Invalid(&'static str),
    /// A directory could not be received.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A directory could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl CallError {
    /// The gRPC code of a refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { status, .. } => Some(status.code()),
            _ => None,
        }
    }

    /// Why a directory was not received; a client that refused the call says it best itself.
    pub(crate) fn received(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Stream(source) => match source.downcast::<Status>() {
                Ok(status) => Self::refused("local directories")(*status),
                Err(source) => ReceiveError::Stream(source).into(),
            },
            error => error.into(),
        }
    }

    /// Why a directory was not sent.
    pub(crate) fn sent(error: SendError) -> Self {
        match error {
            SendError::Stream(source) => match source.downcast::<Status>() {
                Ok(status) => Self::refused("the export")(*status),
                Err(source) => SendError::Stream(source).into(),
            },
            error => error.into(),
        }
    }

    pub(crate) fn refused(what: impl Into<What>) -> impl Fn(Status) -> Self {
        let what = what.into();
        move |status| match status.code() {
            Code::Unimplemented => Self::Unsupported(what.clone()),
            _ => Self::Refused { what: what.clone(), status: Box::new(status) },
        }
    }
}

/// Bounds a call in time, as this process has it (see [`waiting`]).
pub(crate) async fn within<T>(
    limit: Duration,
    what: impl Into<What>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match waiting::at_most(limit, call).await {
        Some(answer) => answer.map(Response::into_inner).map_err(CallError::refused(what)),
        None => Err(CallError::TimedOut { what: what.into(), limit }),
    }
}

/// The answers of a two-way call. The call itself is made by polling them, since some clients answer
/// nothing, not even headers, before they have heard what we stream to them.
pub(crate) fn answers<T: Send + 'static>(
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
) -> BoxStream<'static, Result<T, Status>> {
    futures::stream::once(call).map_ok(Response::into_inner).try_flatten().boxed()
}
