//! One job of the spawner: a forked process, what it has said, and what to clean up behind it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitStatus};

use super::ending::Ending;
use super::protocol::{Failure, Report, Request, Setup, receive, send};
use crate::cgroup::Group;
use crate::container::{self, StubDirectory, Trusted};
use crate::sys;

/// One process, from its fork until it is cleaned up.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) pid: Pid,
    pub(super) kind: JobKind,
    /// To the daemon; gone once the daemon lost interest.
    pub(super) socket: Option<OwnedFd>,
    /// To the child; gone once its program runs or will never run.
    pub(super) setup: Option<OwnedFd>,
    pub(super) failure: Option<Failure>,
    pub(super) stubs: Vec<(StubDirectory, OwnedFd)>,
    pub(super) trusted: Vec<(Trusted, OwnedFd)>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) group: Option<Group>,
    pub(super) own_network: bool,
    /// Its last time, once it was asked to end.
    pub(super) ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    Container,
    Exec,
    Bundle,
    BundleExec,
    Host,
}

impl JobKind {
    /// The kind of a request's job, and whether it has a terminal.
    pub(super) fn of(request: &Request) -> (Self, bool) {
        match request {
            Request::Container(process) => (Self::Container, process.tty),
            Request::Exec { process, .. } => (Self::Exec, process.tty),
            Request::Bundle { process, .. } => (Self::Bundle, process.tty),
            Request::BundleExec { process, .. } => (Self::BundleExec, process.tty),
            Request::Host(_) | Request::PrepareEmulation(_) => (Self::Host, false),
        }
    }
}

impl Job {
    /// Reads what the child has said so far.
    pub(super) fn hear(&mut self) {
        while let Some(setup) = &self.setup {
            match receive::<Setup>(setup) {
                Ok(Some((Setup::Stubs(directory), descriptors))) => {
                    self.stubs.extend(descriptors.into_iter().map(|fd| (directory.clone(), fd)));
                }
                Ok(Some((Setup::Trusted(trusted), descriptors))) => {
                    self.trusted.extend(descriptors.into_iter().map(|fd| (trusted.clone(), fd)));
                }
                Ok(Some((Setup::Joined(pid), _))) => {
                    self.pid = Pid::from_raw(pid).unwrap_or(self.pid);
                }
                Ok(Some((Setup::Failed(failure), _))) => self.failure = Some(failure),
                Ok(None) => {
                    self.setup = None;
                    if self.failure.is_none() {
                        self.report(&Report::Started(self.number));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.setup = None;
                    self.failure = Some(Failure::setup("hear from the child", error));
                }
            }
        }
    }

    pub(super) fn kill(&self, signal: i32) {
        if self.kind == JobKind::BundleExec && signal == libc::SIGKILL && self.setup.is_none() {
            return sys::request_kill(self.pid);
        }
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        // A process that has just ended needs no signal.
        rustix::process::kill_process(self.pid, signal).ok();
        if self.kind == JobKind::Host {
            rustix::process::kill_process_group(self.pid, signal).ok();
        }
    }

    /// Asks it to end, and lets it go on for so long.
    pub(super) fn terminate(&mut self, grace: Duration) {
        // What has not begun yet has nothing to put in order.
        match self.setup {
            Some(_) => self.kill(libc::SIGKILL),
            None => self.ending = Some(Ending::begin(self.pid, self.kind, grace)),
        }
    }

    /// Kills it if it was asked to end and its time is up.
    pub(super) fn end_if_over(&mut self) {
        if self.ending.is_some_and(|ending| ending.is_over(self.pid, self.kind)) {
            self.kill(libc::SIGKILL);
        }
    }

    /// Cleans up behind a process that has ended, then says so.
    pub(super) fn finish(mut self, status: WaitStatus) {
        if self.kind == JobKind::Host {
            // What it left running belongs to it.
            rustix::process::kill_process_group(self.pid, Signal::KILL).ok();
        }
        let oom_killed = self.group.as_ref().is_some_and(Group::oom_killed);
        for (trusted, root) in self.trusted.drain(..) {
            container::remove_trusted(&trusted, &root);
        }
        container::remove_stubs(&self.stubs);
        self.stubs.clear();
        self.terminal = None;
        if let Some(group) = self.group.take() {
            group.remove();
        }
        let report = match self.failure.take() {
            Some(failure) => Report::Failed(failure),
            None => Report::Exited { code: exit_code(status), oom_killed },
        };
        self.report(&report);
    }

    fn report(&self, report: &Report) {
        if let Some(socket) = &self.socket {
            // The daemon may have lost interest meanwhile.
            send(socket, report, &[]).ok();
        }
    }
}

/// Exit code, or 128 + signal.
pub(super) fn exit_code(status: WaitStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|it| it + 128));
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}
