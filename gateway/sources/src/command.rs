//! Running a program on this machine, on behalf of a source.
//!
//! Sources start nothing themselves; the worker passes an implementation over the crate that runs
//! processes. [`HostCommand`] says what that has to take care of.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;

/// Of each stream, at least this many bytes are kept.
pub const OUTPUT_LIMIT: usize = 4 << 20;

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The environment. The runner adds `PATH` and the proxy variables of the machine, and nothing
    /// else.
    pub env: Vec<(String, String)>,
    /// Where it runs.
    pub cwd: PathBuf,
}

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; `None` if it was killed.
    pub status: Option<i32>,
    /// What it wrote to standard output, at most a little more than [`OUTPUT_LIMIT`].
    pub stdout: Vec<u8>,
    /// The same for standard error.
    pub stderr: Vec<u8>,
}

/// Runs programs with an umask of 0022, no standard input, and a process group of their own.
#[async_trait]
pub trait HostCommand: Send + Sync {
    /// Runs a program to its end. Dropping the future ends the whole process group.
    ///
    /// # Errors
    ///
    /// When it cannot be started; a program that fails is an [`Output`].
    async fn run(&self, command: Command) -> io::Result<Output>;
}
