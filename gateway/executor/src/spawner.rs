//! The helper process that starts everything, seen from the daemon.
//!
//! Forking a large daemon copies its page tables, so the daemon forks once, when it starts: into
//! [`server`], the same executable, single-threaded and small. Jobs are sent to it over a socket;
//! each has a socket of its own, whose closing ends the job. It is the first process of its own
//! process namespace, so nothing it started outlives it, and it ends when the daemon does.

mod ending;
mod job;
mod private_table;
mod protocol;
mod server;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) use private_table::identity;
pub(crate) use protocol::{
    Command, Failure, Report, Request, Runtime, Setup, Step, describe, receive, send,
};

use crate::emulation::Registration;
use crate::executor::{ExecError, ExitStatus};
use crate::stdio::Stdio;
use crate::sys::{self, CStrings};

/// What the first argument of a spawner is; no user would call the program so.
const ARGUMENT_ZERO: &str = "kiln-process-spawner";

/// The running helper. Clones share it; it ends with the last one.
#[derive(Debug, Clone)]
pub struct Spawner {
    control: Arc<OwnedFd>,
}

/// Becomes a spawner if this process was started as one, and then never returns.
///
/// To be called first thing in `main`, before any thread or runtime exists.
pub fn spawner_main_if_asked() {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() != Some(ARGUMENT_ZERO) {
        return;
    }
    let scratch = arguments.next().unwrap_or_default();
    let sealed = arguments.next().is_some();
    sys::exit_now(server::main(Path::new(&scratch), sealed));
}

impl Spawner {
    /// Starts the helper.
    ///
    /// `scratch` is a directory for its use; it is created if missing, and containers mount their
    /// private memory over it. The program's `main` must call [`spawner_main_if_asked`].
    pub fn start(scratch: &Path) -> io::Result<Self> {
        fs::create_dir_all(scratch)?;
        let scratch = fs::canonicalize(scratch)?;
        let scratch = scratch.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let (control, other) = socket_pair(SocketFlags::CLOEXEC)?;
        let arguments = CStrings::new([ARGUMENT_ZERO, scratch])?;
        let flags = libc::CLONE_NEWPID as u64;
        match sys::spawn_self(other.as_fd(), &arguments, flags) {
            // Without a process namespace, children are still tied to it one by one.
            Err(error) if refused(&error) => sys::spawn_self(other.as_fd(), &arguments, 0)?,
            result => result?,
        };
        rustix::io::ioctl_fionbio(&control, true)?;
        Ok(Self { control: Arc::new(control) })
    }

    /// Makes what processes with [`Emulation::Private`](crate::Emulation::Private) and these emulators
    /// need, unless it is there: without it such a process fails, as here.
    ///
    /// # Errors
    ///
    /// If the kernel does not give user namespaces, or these no table of their own.
    pub async fn prepare_emulation(&self, emulators: &[Registration]) -> Result<(), ExecError> {
        let request = Request::PrepareEmulation(emulators.to_vec());
        self.start_job(request, Stdio::null()?).await.map(drop)
    }

    /// Hands a request over and waits until its program runs.
    pub(crate) async fn start_job(&self, request: Request, stdio: Stdio) -> Result<Job, ExecError> {
        let (ours, theirs) = socket_pair(SocketFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
        let body = protocol::seal(&request)?;
        let [stdin, stdout, stderr] = stdio.into_fds()?;
        let descriptors = [&body, &theirs, &stdin, &stdout, &stderr].map(|fd| fd.as_fd());
        self.deliver(&descriptors).await?;
        drop((theirs, stdin, stdout, stderr));
        let socket = sys::watch(ours, Interest::READABLE)?;
        let mut job = Job { socket, number: 0, ended: None };
        match job.next_report().await? {
            Report::Started(number) => job.number = number,
            Report::Failed(failure) => return Err(failure.into()),
            Report::Exited { .. } => return Err(ExecError::SpawnerGone),
        }
        Ok(job)
    }

    async fn deliver(&self, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), ExecError> {
        // A duplicate, as one descriptor can be registered with the runtime only once.
        let control = self.control.try_clone()?;
        let control = sys::watch(control, Interest::WRITABLE)?;
        loop {
            let mut ready = control.writable().await?;
            match ready.try_io(|control| send(control.get_ref(), &(), descriptors)) {
                Ok(Err(error)) if is_closed(&error) => return Err(ExecError::SpawnerGone),
                Ok(result) => return Ok(result?),
                Err(_would_block) => {}
            }
        }
    }
}

/// One job of the spawner, by its socket. Dropping it ends the job.
#[derive(Debug)]
pub(crate) struct Job {
    socket: AsyncFd<OwnedFd>,
    /// How the spawner knows it.
    pub(crate) number: u64,
    ended: Option<ExitStatus>,
}

impl Job {
    /// Waits until the job has ended and is cleaned up.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        match self.next_report().await? {
            Report::Exited { code, oom_killed } => {
                Ok(*self.ended.insert(ExitStatus { code, oom_killed }))
            }
            Report::Failed(failure) => Err(failure.into()),
            Report::Started(_) => Err(ExecError::SpawnerGone),
        }
    }

    /// Tells the spawner something about the job; one that has ended no longer listens.
    pub(crate) fn command(&self, command: &Command) {
        send(self.socket.get_ref(), command, &[]).ok();
    }

    /// Asks the job to end within `grace`.
    pub(crate) fn terminate(&self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.command(&Command::Terminate { grace });
    }

    async fn next_report(&self) -> Result<Report, ExecError> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive::<Report>(socket.get_ref())) {
                Ok(Ok(Some((report, _)))) => return Ok(report),
                Ok(Ok(None)) => return Err(ExecError::SpawnerGone),
                Ok(Err(error)) if is_closed(&error) => return Err(ExecError::SpawnerGone),
                Ok(Err(error)) => return Err(error.into()),
                Err(_would_block) => {}
            }
        }
    }
}

/// Whether the kernel, or a filter in front of it, does not give what was asked for.
fn refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::ENOSPC | libc::EINVAL))
}

/// Two ends of a socket that keeps packets apart.
fn socket_pair(flags: SocketFlags) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn is_closed(error: &io::Error) -> bool {
    let codes = [Errno::PIPE, Errno::CONNRESET, Errno::NOTCONN];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
