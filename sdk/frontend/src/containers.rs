//! Containers that a frontend starts processes in, beside the graph that it solves.
//!
//! A daemon that has them implements [`Containers`]; the gateway service gives them the names that
//! the far side chose and carries the streams of their processes. Requests and exits are the
//! messages of the protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_wire::proto::filetree::Stat;
use kiln_wire::proto::gateway as wire;
use kiln_wire::status::{Detail, RichStatus};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{Code, Status};

use crate::FileRange;

/// Containers that one build may have at a time.
const MAX_CONTAINERS: usize = 256;

/// The exit code of a process of which nothing is known (BuildKit's `UnknownExitStatus`).
pub const UNKNOWN_EXIT: u32 = 255;

/// Makes containers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes a container's mounts; no process runs yet. The container lives as long as the value.
    async fn create(
        &self,
        request: wire::NewContainerRequest,
    ) -> Result<Arc<dyn Container>, RichStatus>;
}

/// A container.
#[async_trait]
pub trait Container: Send + Sync {
    /// Starts a process: the first is the container's own, and when it ends the others end too.
    ///
    /// An error says why its program cannot be run.
    async fn start(&self, process: wire::InitMessage) -> Result<Process, RichStatus>;

    /// Whether a process was started already, so that others join it.
    fn is_started(&self) -> bool {
        false
    }

    /// Ends all processes, now and later.
    fn release(&self);

    /// Waits until no process is left; an error is the first that one of them ended with.
    async fn ended(&self) -> Result<(), RichStatus> {
        Ok(())
    }

    /// Reads a file of a mount, or a part of it.
    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, RichStatus>;

    /// Lists a directory of a mount, one level. An empty pattern means all.
    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<Stat>, RichStatus>;

    /// Looks at a path of a mount.
    async fn stat_file(&self, mount: usize, path: &str) -> Result<Stat, RichStatus>;
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
    pub ended: BoxFuture<'static, wire::ExitMessage>,
}

/// What a process can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take a signal, by its number.
    Signal(i32),
    /// Have a terminal of so many rows and columns.
    Resize(u16, u16),
}

/// The exit of a process that ended by itself.
pub fn exited(code: u32) -> wire::ExitMessage {
    wire::ExitMessage { code, error: (code != 0).then(|| failed_with(code).to_rpc()) }
}

/// The error of a process that ended with a code.
pub fn failed_with(code: u32) -> RichStatus {
    RichStatus::new(Code::Unknown, format!("exit code: {code}")).with(Detail::Exit(code))
}

/// The exit of a process that did not run, or of which nothing is known.
pub fn lost(error: &RichStatus) -> wire::ExitMessage {
    wire::ExitMessage { code: UNKNOWN_EXIT, error: Some(error.to_rpc()) }
}

/// The error of a process that was no longer wanted.
pub fn cancelled() -> RichStatus {
    // Those who wait look for these words.
    RichStatus::new(Code::Cancelled, "the process was ended: context canceled")
}

/// The containers of one build, by the names that the far side chose. Dropping it releases them.
#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<String, Arc<dyn Container>>>);

impl Table {
    /// Adds a container under a name that is not taken.
    pub(crate) fn add(&self, name: &str, container: Arc<dyn Container>) -> Result<(), Status> {
        let mut table = self.lock();
        if table.contains_key(name) {
            return Err(Status::already_exists(format!("Container {name} already exists")));
        }
        if table.len() >= MAX_CONTAINERS {
            let message = format!("a build may have {MAX_CONTAINERS} containers at a time");
            return Err(Status::resource_exhausted(message));
        }
        table.insert(name.to_owned(), container);
        Ok(())
    }

    /// The container of a name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<dyn Container>, Status> {
        let missing =
            || Status::not_found(format!("container {name:?} previously released or not created"));
        self.lock().get(name).cloned().ok_or_else(missing)
    }

    /// Releases the container of a name.
    pub(crate) async fn release(&self, name: &str) -> Result<(), Status> {
        let missing = || Status::unknown(format!("container details for {name} not found"));
        let container = self.lock().remove(name).ok_or_else(missing)?;
        container.release();
        container.ended().await.map_err(|status| status.to_status())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Container>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.lock().values().for_each(|container| container.release());
    }
}

/// The signals of Linux, from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal by its name, with or without `SIG`, as Linux has them.
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
        assert_eq!(exited(0), wire::ExitMessage::default());
        let failed = exited(99);
        let error = RichStatus::from_rpc(failed.error.clone().unwrap());
        assert_eq!((failed.code, error.message.as_str()), (99, "exit code: 99"));
        assert_eq!(error.details, [Detail::Exit(99)]);
        assert_eq!(lost(&cancelled()).code, UNKNOWN_EXIT);
    }
}
