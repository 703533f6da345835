//! Why an operation failed, and which.

use std::sync::Arc;

use kiln_graph::Vertex;

/// What kind of failure, as far as a client acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    /// The build is wrong, or something it needs.
    #[default]
    Failed,
    /// Something does not exist.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// It is not allowed.
    Denied,
    /// The machine has no room left.
    Exhausted,
    /// Something did not answer; trying again may help.
    Unavailable,
    /// The build was cancelled.
    Cancelled,
    /// This daemon cannot do that.
    Unsupported,
}

/// What the kernel says of a full disk, and of a full quota on it.
const FULL: &[&str] =
    &["no space left on device", "no space left on the device", "disk quota exceeded"];

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// What went wrong, with all that is beneath it.
    pub message: String,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The exit code, if a process failed.
    pub exit_code: Option<u32>,
}

impl OpError {
    /// A failure of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind, exit_code: None }
    }

    /// A failure for a reason that is an error itself; the message is its whole chain. One that says
    /// that the disk is full is [`ErrorKind::Exhausted`].
    pub fn from_error(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors quote what is beneath them.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        let text = message.to_lowercase();
        let full = kind == ErrorKind::Failed && FULL.iter().any(|words| text.contains(words));
        Self::new(if full { ErrorKind::Exhausted } else { kind }, message)
    }

    /// Puts words in front.
    #[must_use]
    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// An operation that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct SolveError {
    /// The operation.
    pub vertex: Arc<Vertex>,
    /// Why.
    pub error: OpError,
}
