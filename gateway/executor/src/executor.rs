//! The contract of an executor: start a [`Process`], wait for it, kill it.
//!
//! [`Executor`] is implemented by [`crate::Native`] and [`crate::OciRuntime`]; both pass the suite in
//! `testing`. Exit statuses come out as the field counts them: 128 + signal for a killed process.

use std::time::Duration;

use async_trait::async_trait;

use crate::process::{ExecProcess, Process};
use crate::stdio::Stdio;

/// Starts processes on plain paths and mounts.
#[async_trait]
pub trait Executor: Send + Sync + std::fmt::Debug {
    /// Starts `process`; returns once its program runs.
    ///
    /// # Errors
    ///
    /// [`ExecError::Program`] if the program cannot be executed, [`ExecError::Setup`] if its
    /// surroundings cannot be made; nothing runs then, and nothing is left behind.
    ///
    /// # Cancellation
    ///
    /// Safe: a process that was half started is killed and cleaned up.
    async fn start(&self, process: Process, stdio: Stdio) -> Result<Box<dyn Running>, ExecError>;

    /// `native`, or the name of the runtime: `runc`, `crun`.
    fn name(&self) -> &str;
}

/// A started process. Dropping it kills the whole tree and cleans up behind it.
#[async_trait]
pub trait Running: Send + Sync + std::fmt::Debug {
    /// Waits until the process has ended, its mounts are gone and its stubs are removed.
    ///
    /// May be called again, and may be cancelled.
    async fn wait(&mut self) -> Result<ExitStatus, ExecError>;

    /// Sends `signal`. `SIGKILL` ends the whole tree. A process that has ended ignores it.
    fn kill(&self, signal: i32);

    /// Asks every process inside to end (`SIGTERM`), and ends the whole tree (`SIGKILL`) after
    /// `grace`, or as soon as none is left that handles the signal. Returns at once; [`Self::wait`]
    /// says when it is over. A process that has ended ignores it.
    fn terminate(&self, grace: Duration);

    /// Starts a second process inside.
    async fn exec(&self, process: ExecProcess, stdio: Stdio)
    -> Result<Box<dyn Running>, ExecError>;

    /// Tells the terminal its new size; nothing happens without a terminal.
    fn resize(&self, rows: u16, columns: u16);
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code, or 128 + signal.
    pub code: u32,
    /// Whether the memory limit of its control group killed it.
    pub oom_killed: bool,
}

impl ExitStatus {
    /// Whether the process ended with code 0.
    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// Why a process did not start, or is out of sight.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program could not be executed.
    #[error("{message}")]
    Program {
        /// What was tried and what the kernel said, as `exec /foo: no such file or directory`.
        message: String,
    },
    /// The file system, namespaces or limits of the process could not be made.
    #[error("{step}: {message}")]
    Setup {
        /// What was being done, with its path.
        step: String,
        /// What the kernel said.
        message: String,
    },
    /// Nothing can be run on this machine.
    #[error("{reason}")]
    Unavailable {
        /// What is missing, and what would help.
        reason: String,
    },
    /// The helper that starts processes has ended; no further process can run.
    #[error("the process spawner has ended; restart the daemon")]
    SpawnerGone,
    /// Talking to the helper failed.
    #[error("talk to the process spawner")]
    Spawner(#[from] std::io::Error),
    /// The OCI runtime failed before the process ran.
    #[error("{runtime}: {message}")]
    Runtime {
        /// The runtime's name.
        runtime: String,
        /// What it printed.
        message: String,
    },
}
