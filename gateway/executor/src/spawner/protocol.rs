//! What daemon, spawner and child tell each other.
//!
//! A [`Request`] travels in a memory file, whose descriptor is passed together with the job's socket
//! and the three streams; everything else is one JSON packet on the job's socket.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::emulation::Registration;
use crate::executor::ExecError;
use crate::process::{ExecProcess, HostProcess, Process};

/// More than any build asks for; a larger request is refused.
const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// Packets are short; a longer one would be cut off and then not decode.
const MAX_PACKET_BYTES: usize = 64 << 10;
/// The most descriptors in one packet.
const MAX_DESCRIPTORS: usize = 8;

/// What the daemon wants started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A container.
    Container(Box<Process>),
    /// A second process in the container whose job has this number.
    Exec { container: u64, process: ExecProcess },
    /// A container that an OCI runtime makes.
    Bundle { process: Box<Process>, runtime: Runtime },
    /// A second process in such a container, whose job has this number and whose name is `id`.
    BundleExec { container: u64, id: String, process: ExecProcess, runtime: Runtime },
    /// A process of the host.
    Host(HostProcess),
    /// No process: only what emulated ones will need.
    PrepareEmulation(Vec<Registration>),
}

/// How to call an OCI runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runtime {
    /// For messages.
    pub(crate) name: String,
    /// A path, or a name to look up.
    pub(crate) binary: String,
    /// What goes before its command.
    pub(crate) arguments: Vec<String>,
    /// Whether it makes control groups.
    pub(crate) control_groups: bool,
}

/// What the spawner tells the daemon about one job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program runs, as the job with this number.
    Started(u64),
    /// It did not come to that.
    Failed(Failure),
    /// It has ended and everything is cleaned up.
    Exited { code: u32, oom_killed: bool },
}

/// What the daemon tells the spawner about one job; closing the socket ends the job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Send this signal.
    Kill(i32),
    /// Ask all processes to end, and kill them after so many milliseconds.
    Terminate { grace: u64 },
    /// Resize the terminal.
    Resize { rows: u16, columns: u16 },
}

/// What the child tells the spawner before its program runs; closing the socket means it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Setup {
    /// Mount points were made in the directory that comes along.
    Stubs(crate::container::StubDirectory),
    /// A certificate was added to a bundle below the root that comes along.
    Trusted(crate::container::Trusted),
    /// The job's process is this one from now on.
    Joined(i32),
    /// The program will not run.
    Failed(Failure),
}

/// An [`ExecError`] that can travel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Failure {
    Program(String),
    Setup { step: String, message: String },
}

impl Failure {
    /// A failure of `step`.
    pub(crate) fn setup(step: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Setup { step: step.into(), message: describe(&error.into()) }
    }
}

impl From<Failure> for ExecError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Program(message) => Self::Program { message },
            Failure::Setup { step, message } => Self::Setup { step, message },
        }
    }
}

/// Names what was being done when an error came.
pub(crate) trait Step<T> {
    /// The error as a failure of `step`.
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(step(), error))
    }
}

/// The kernel's words for an error, as the field writes them: lower case, no number.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

/// Writes `request` to a memory file.
pub(crate) fn seal(request: &Request) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("request", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(request)?)?;
    Ok(file.into())
}

/// Reads a request back.
pub(crate) fn unseal(file: OwnedFd) -> io::Result<Request> {
    let mut file = File::from(file);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_REQUEST_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Sends one packet with descriptors; `WouldBlock` if the other end is behind.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet; `None` if the other end has closed.
pub(crate) fn receive<M: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}
