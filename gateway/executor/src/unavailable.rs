//! The executor of a machine on which no process can be run.

use async_trait::async_trait;

use crate::executor::{ExecError, Executor, Running};
use crate::process::Process;
use crate::stdio::Stdio;

/// Refuses every process, with what is missing; see [`crate::Privileges`].
#[derive(Debug, Clone)]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    /// An executor that answers with `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

#[async_trait]
impl Executor for Unavailable {
    async fn start(&self, _: Process, _: Stdio) -> Result<Box<dyn Running>, ExecError> {
        Err(ExecError::Unavailable { reason: self.reason.clone() })
    }

    fn name(&self) -> &str {
        "none"
    }
}
