//! Containers that a frontend starts processes in, beside the graph that it solves.
//!
//! A daemon that has them implements [`Containers`]; the gateway service gives them the names that
//! the far side chose and carries the streams of their processes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_wire::proto::gateway as wire;
use kiln_wire::status::{Detail, RichStatus};
use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::container_request::{ContainerRequest, ProcessRequest};
use crate::{Code, FileRange, FileStat, FrontendError};

/// The exit code of a process of which nothing is known (BuildKit's `UnknownExitStatus`).
pub const UNKNOWN_EXIT: u32 = 255;

/// Makes containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes a container's mounts; no process runs yet. The container lives as long as the value.
    async fn create(&self, request: ContainerRequest) -> Result<Arc<dyn Container>, FrontendError>;
}

/// A container.
#[async_trait]
pub trait Container: Send + Sync {
    /// Starts a process: the first is the container's own, and when it ends the others end too.
    ///
    /// An error says why its program cannot be run.
    async fn start(&self, process: ProcessRequest) -> Result<Process, FrontendError>;

    /// Whether a process was started already, so that others join it.
    fn is_started(&self) -> bool {
        false
    }

    /// Ends all processes, now and later.
    fn release(&self);

    /// Waits until no process is left; an error is the first that one of them ended with.
    async fn ended(&self) -> Result<(), FrontendError> {
        Ok(())
    }

    /// Reads a file of a mount, or a part of it.
    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError>;

    /// Lists a directory of a mount, one level. An empty pattern means all.
    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError>;

    /// Looks at a path of a mount.
    async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, FrontendError>;
}

/// A process that runs.
pub struct Process {
    /// Where its standard input is written, if it has one; dropped at the end of the input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes, by descriptor.
    pub outputs: Vec<(u32, Box<dyn AsyncRead + Send + Unpin>)>,
    /// Gives it orders; one that has ended ignores them.
    pub orders: Box<dyn Fn(Order) + Send + Sync>,
    /// Waits for its end. Dropping this ends the process.
    pub ended: BoxFuture<'static, Exit>,
}

/// How a process ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code; [`UNKNOWN_EXIT`] if it did not run or nobody knows.
    pub code: u32,
    /// What is wrong, unless the code is 0.
    pub error: Option<FrontendError>,
}

/// What a process can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take a signal, by its number.
    Signal(i32),
    /// Have a terminal of so many rows and columns.
    Resize(u16, u16),
}

impl Exit {
    pub(crate) fn from_wire(exit: wire::ExitMessage) -> Self {
        let error = exit.error.map(|error| FrontendError(RichStatus::from_rpc(error)));
        Self { code: exit.code, error }
    }

    #[cfg(feature = "daemon")]
    pub(crate) fn into_wire(self) -> wire::ExitMessage {
        wire::ExitMessage { code: self.code, error: self.error.map(|error| error.0.to_rpc()) }
    }
}

/// The exit of a process that ended by itself.
pub fn exited(code: u32) -> Exit {
    Exit { code, error: (code != 0).then(|| failed_with(code)) }
}

/// The error of a process that ended with a code.
pub fn failed_with(code: u32) -> FrontendError {
    let status = RichStatus::new(Code::Unknown.to_wire(), format!("exit code: {code}"));
    FrontendError(status.with(Detail::Exit(code)))
}

/// The exit of a process that did not run, or of which nothing is known.
pub fn lost(error: FrontendError) -> Exit {
    Exit { code: UNKNOWN_EXIT, error: Some(error) }
}

/// The error of a process that was no longer wanted.
pub fn cancelled() -> FrontendError {
    // Those who wait look for these words.
    FrontendError::new(Code::Cancelled, "the process was ended: context canceled")
}

/// The signals of Linux, from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal by its name, with or without `SIG`, as Linux has them.
#[cfg(feature = "daemon")]
pub(crate) fn signal(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    let place = SIGNALS.iter().position(|known| *known == name)?;
    i32::try_from(place + 1).ok()
}

/// The name of a signal.
pub(crate) fn signal_name(number: i32) -> Option<&'static str> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    SIGNALS.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_numbers_of_linux() {
        let found = ["HUP", "KILL", "SIGTERM", "WINCH", "CLD", "SYS"].map(signal);
        assert_eq!(found, [Some(1), Some(9), Some(15), Some(28), Some(17), Some(31)]);
        assert!((1..=31).all(|number| signal_name(number).and_then(signal) == Some(number)));
        assert_eq!(["", "SIG", "hup", "NONE"].map(signal), [None; 4]);
    }

    #[test]
    fn only_a_failure_has_an_error() {
        let ended = exited(0);
        assert!(ended.code == 0 && ended.error.is_none());
        let failed = exited(99);
        let error = failed.error.unwrap();
        assert_eq!((failed.code, error.message()), (99, "exit code: 99"));
        assert_eq!(error.exit_code(), Some(99));
        assert_eq!(lost(cancelled()).code, UNKNOWN_EXIT);
    }
}
