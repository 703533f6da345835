//! Why an operation failed, and which.

use std::fmt;
use std::sync::Arc;

use kiln_graph::Vertex;

use crate::Output;

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
    /// A result that was there is gone; what makes it has to run again.
    Lost,
    /// The build was cancelled.
    Cancelled,
    /// This daemon cannot do that.
    Unsupported,
}

/// What of an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The content of this input could not be found out.
    Content(usize),
    /// This action of a file operation.
    FileAction(usize),
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
    /// What of the operation failed, if it was not the whole.
    pub subject: Option<Subject>,
}

impl OpError {
    /// A failure of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind, exit_code: None, subject: None }
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
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says what of the operation failed.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }
}

/// A run that failed, with what it left: the client may want to look at it.
#[derive(Clone, Debug)]
pub struct ExecError<R> {
    /// Why.
    pub error: OpError,
    /// For every mount of a process, what it shows now; empty if there was no process.
    pub mounts: Vec<Output<R>>,
}

impl<R> From<OpError> for ExecError<R> {
    fn from(error: OpError) -> Self {
        Self { error, mounts: Vec::new() }
    }
}

/// An operation that failed, with what it was done on.
#[derive(Clone)]
pub struct SolveError<R> {
    /// The operation; `None` if the build ended before it came to one.
    pub vertex: Option<Arc<Vertex>>,
    /// Why.
    pub error: OpError,
    /// The results of its inputs, if it ran or one of them was looked into; in the latter case that
    /// one alone.
    pub inputs: Vec<Output<R>>,
    /// What the mounts of its process show now.
    pub mounts: Vec<Output<R>>,
}

impl<R> SolveError<R> {
    /// An error without results.
    pub(crate) fn new(vertex: Option<Arc<Vertex>>, error: OpError) -> Self {
        Self { vertex, error, inputs: Vec::new(), mounts: Vec::new() }
    }
}

impl<R> fmt::Display for SolveError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<R> fmt::Debug for SolveError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vertex = self.vertex.as_ref().map(|vertex| &vertex.digest);
        f.debug_struct("SolveError")
            .field("vertex", &vertex)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<R> std::error::Error for SolveError<R> {}
