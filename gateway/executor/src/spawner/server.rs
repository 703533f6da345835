//! The helper process itself: forks jobs, watches them, cleans up behind them.
//!
//! One thread, one loop over the control socket, the jobs' sockets and child signals. Everything
//! slow (mounting, looking up) happens in the children.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::net::SocketFlags;
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal, WaitOptions};

use super::ending;
use super::job::{Job, JobKind, exit_code};
use super::private_table::PrivateTable;
use super::protocol::{Command, Failure, Report, Request, Setup, Step, receive, send, unseal};
use super::{ARGUMENT_ZERO, socket_pair};
use crate::cgroup::{Group, Hierarchy};
use crate::container::{self, Context, DeviceGuard, Usable};
use crate::device_program::assemble;
use crate::emulation::{Emulation, Registration};
use crate::process::{Network, Process, Security};
use crate::seccomp::Filter;
use crate::stdio::set_size;
use crate::sys::{self, CStrings};

/// How many descriptors come with a request: body, job socket, three streams.
const REQUEST_DESCRIPTORS: usize = 5;

/// Runs until the daemon closes the control socket; returns the exit code.
pub(super) fn main(scratch: &Path, sealed: bool) -> i32 {
    if !sealed {
        // Only returns if the executable cannot be sealed; then it is used as it is.
        seal_executable(scratch).ok();
    }
    i32::from(Server::new(scratch).and_then(Server::run).is_err())
}

/// Executes this program again through a read-only mount of its own.
///
/// A container's first process starts as this program; so nothing inside can write to its file.
fn seal_executable(scratch: &Path) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let program = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    sys::mount_setattr(program.as_fd(), libc::MOUNT_ATTR_RDONLY, false)?;
    let scratch = scratch.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    Err(sys::execute_fd(program.as_fd(), &CStrings::new([ARGUMENT_ZERO, scratch, "sealed"])?))
}

/// The state of the loop.
struct Server {
    control: OwnedFd,
    signals: OwnedFd,
    /// How many descriptors a process may have.
    files: Rlimit,
    scratch: PathBuf,
    filter: Filter,
    hierarchy: Hierarchy,
    user_namespace: bool,
    devices: DeviceGuard,
    /// For control groups of version 2.
    device_program: Option<OwnedFd>,
    /// Where emulated processes run; another for every list of emulators.
    tables: Vec<PrivateTable>,
    /// By number, in the order they were started.
    jobs: BTreeMap<u64, Job>,
    started: u64,
}

/// What the loop woke up for.
enum Wake {
    Control,
    Signals,
    Job(u64),
    Setup(u64),
}

impl Server {
    fn new(scratch: &Path) -> io::Result<Self> {
        let control = sys::take_control().ok_or(io::ErrorKind::NotConnected)?;
        let signals = sys::child_signals()?;
        let files = rustix::process::getrlimit(Resource::Nofile);
        let raised = Rlimit { current: files.maximum, ..files };
        // Only the number of concurrent processes depends on it.
        rustix::process::setrlimit(Resource::Nofile, raised).ok();
        rustix::process::chdir("/")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        let user_namespace = crate::userns::inside();
        let device_program = sys::load_device_program(&assemble(&container::usable_devices())).ok();
        let hierarchy = Hierarchy::detect();
        let devices = if user_namespace {
            DeviceGuard::UserNamespace
        } else if hierarchy.guard_devices() {
            DeviceGuard::ControlGroup
        } else {
            DeviceGuard::Mounts
        };
        let (filter, scratch) = (Filter::sandbox(), scratch.to_owned());
        let jobs = BTreeMap::new();
        Ok(Self {
            control,
            signals,
            files,
            scratch,
            filter,
            hierarchy,
            user_namespace,
            devices,
            device_program,
            tables: Vec::new(),
            jobs,
            started: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            for wake in self.wait()? {
                match wake {
                    Wake::Control if !self.accept()? => return Ok(()),
                    Wake::Control => {}
                    Wake::Signals => self.reap(),
                    Wake::Job(number) => self.obey(number),
                    Wake::Setup(number) => self.hear(number),
                }
            }
            self.jobs.values_mut().for_each(Job::end_if_over);
        }
    }

    /// Waits until something can be read.
    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut sources = vec![(Wake::Control, &self.control), (Wake::Signals, &self.signals)];
        for (number, job) in &self.jobs {
            sources.extend(job.socket.as_ref().map(|socket| (Wake::Job(*number), socket)));
            sources.extend(job.setup.as_ref().map(|setup| (Wake::Setup(*number), setup)));
        }
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::IN)).collect();
        let pause = self
            .jobs
            .values()
            .any(|job| job.ending.is_some())
            .then_some(Timespec { tv_sec: 0, tv_nsec: i64::from(ending::PAUSE.subsec_nanos()) });
        match poll(&mut polled, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|((wake, _), ready)| ready.then_some(wake))
            .collect())
    }

    /// Takes one request; `false` once the daemon is gone.
    fn accept(&mut self) -> io::Result<bool> {
        let Some(((), descriptors)) = receive::<()>(&self.control)? else {
            self.jobs.values().for_each(|job| job.kill(Signal::KILL.as_raw()));
            return Ok(false);
        };
        let Ok([body, socket, stdin, stdout, stderr]) =
            <[OwnedFd; REQUEST_DESCRIPTORS]>::try_from(descriptors)
        else {
            return Ok(true);
        };
        let result = unseal(body).step(|| "read the request".into()).and_then(|request| {
            self.prepare_emulation(&request)?;
            match request {
                Request::PrepareEmulation(_) => Ok(None),
                request => self.start(&request, &socket, &[stdin, stdout, stderr]).map(Some),
            }
        });
        match result {
            Ok(None) => {
                send(&socket, &Report::Started(0), &[]).ok();
            }
            Ok(Some(mut job)) => {
                job.socket = Some(socket);
                self.started = job.number;
                self.jobs.insert(job.number, job);
            }
            Err(failure) => {
                send(&socket, &Report::Failed(failure), &[]).ok();
            }
        }
        Ok(true)
    }

    /// Makes the user namespace that the processes of a request are moved to, unless it is there.
    fn prepare_emulation(&mut self, request: &Request) -> Result<(), Failure> {
        let Some(registrations) = private_emulation(request) else { return Ok(()) };
        if !self.tables.iter().any(|table| table.is_of(registrations)) {
            self.tables.push(PrivateTable::make(registrations)?);
        }
        Ok(())
    }

    /// The user namespace that the processes of a request are moved to.
    fn emulation(&self, request: &Request) -> Option<BorrowedFd<'_>> {
        let registrations = private_emulation(request)?;
        let table = self.tables.iter().find(|table| table.is_of(registrations))?;
        Some(table.namespace().as_fd())
    }

    /// Forks the child of a request.
    fn start(
        &self,
        request: &Request,
        socket: &OwnedFd,
        streams: &[OwnedFd; 3],
    ) -> Result<Job, Failure> {
        rustix::io::ioctl_fionbio(socket, true).step(|| "use the job's socket".into())?;
        let (setup, theirs) =
            socket_pair(SocketFlags::CLOEXEC).step(|| "make a setup socket".into())?;
        rustix::io::ioctl_fionbio(&setup, true).step(|| "use the setup socket".into())?;
        let (kind, tty) = JobKind::of(request);
        let terminal = tty.then(|| streams[0].try_clone()).transpose();
        let terminal = terminal.step(|| "keep the terminal".into())?;
        let (flags, entered) = match request {
            Request::Container(process) => (namespaces(process), None),
            Request::Bundle { .. } => ((libc::CLONE_NEWNS | libc::CLONE_NEWPID) as u64, None),
            Request::Exec { container, .. } | Request::BundleExec { container, .. } => {
                (0, Some(self.container(*container)?))
            }
            Request::Host(_) | Request::PrepareEmulation(_) => (0, None),
        };
        let group = self.group(request)?;
        let joined = self.joined_group(request);
        let entered_group = group.as_ref().or(joined);
        let descriptor = entered_group.and_then(Group::descriptor);
        match sys::clone3(flags, descriptor).step(|| "fork".into()) {
            Ok(Some(pid)) => {
                let (number, setup, stubs) = (self.started + 1, Some(setup), Vec::new());
                let own_network = has_own_network(request);
                let (socket, failure, trusted) = (None, None, Vec::new());
                Ok(Job {
                    number,
                    pid,
                    kind,
                    socket,
                    setup,
                    failure,
                    stubs,
                    trusted,
                    terminal,
                    group,
                    own_network,
                    ending: None,
                })
            }
            Ok(None) => {
                self.become_child(request, entered_group, entered.as_ref(), streams, &theirs)
            }
            Err(failure) => {
                if let Some(group) = group {
                    group.remove();
                }
                Err(failure)
            }
        }
    }

    /// The control group of a container.
    fn group(&self, request: &Request) -> Result<Option<Group>, Failure> {
        match request {
            Request::Container(process) => {
                Group::create(&self.hierarchy, process, self.given(process)?)
                    .step(|| format!("make the control group of {}", process.id))
            }
            // The runtime makes it, but does not live to remove it if it is killed.
            Request::Bundle { process, runtime } if runtime.control_groups => {
                Group::of_runtime(&self.hierarchy, process)
                    .step(|| format!("name the control group of {}", process.id))
            }
            Request::Bundle { process, .. } => {
                Group::of_devices(&self.hierarchy, process, self.given(process)?)
                    .step(|| format!("make the control group of {}", process.id))
            }
            _ => Ok(None),
        }
    }

    /// The devices that a process was given, if a control group keeps all others dead.
    fn given(&self, process: &Process) -> Result<Vec<Usable>, Failure> {
        match (self.devices, process.security) {
            (DeviceGuard::ControlGroup, Security::Sandbox | Security::Restricted) => {
                container::granted_devices(process)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The program that keeps devices dead but those that a process was given, on version 2.
    fn device_program(&self, request: &Request) -> Option<OwnedFd> {
        let given = match request {
            Request::Container(process) if !process.devices.is_empty() => {
                container::granted_devices(process).ok()?
            }
            _ => return self.device_program.as_ref()?.try_clone().ok(),
        };
        let usable: Vec<Usable> = container::usable_devices().into_iter().chain(given).collect();
        sys::load_device_program(&assemble(&usable)).ok()
    }

    /// The control group of the container that a second process joins.
    fn joined_group(&self, request: &Request) -> Option<&Group> {
        match request {
            Request::Exec { container, .. } => self.jobs.get(container)?.group.as_ref(),
            _ => None,
        }
    }

    /// Who keeps the device nodes of a sandbox dead; its own control group, if that can be had.
    fn device_guard(&self, request: &Request, group: Option<&Group>) -> DeviceGuard {
        let sandbox = match request {
            Request::Container(process) => process.security != Security::Insecure,
            // The runtime sees to it itself.
            Request::Bundle { runtime, .. } if runtime.control_groups => {
                return DeviceGuard::ControlGroup;
            }
            _ => false,
        };
        let descriptor = group.and_then(Group::descriptor);
        let program = if sandbox { self.device_program(request) } else { None };
        match (self.devices, descriptor, program) {
            (DeviceGuard::Mounts, Some(group), Some(program)) if sandbox => {
                match sys::attach_device_program(group, program.as_fd()) {
                    Ok(()) => DeviceGuard::ControlGroup,
                    Err(_) => DeviceGuard::Mounts,
                }
            }
            (devices, ..) => devices,
        }
    }

    /// Whether a second process has to move to the network of the container that it joins.
    fn joins_network(&self, request: &Request) -> bool {
        match request {
            Request::Exec { container, .. } | Request::BundleExec { container, .. } => {
                self.jobs.get(container).is_some_and(|job| job.own_network)
            }
            _ => false,
        }
    }

    /// The child's side of a fork.
    fn become_child(
        &self,
        request: &Request,
        group: Option<&Group>,
        entered: Option<&OwnedFd>,
        streams: &[OwnedFd; 3],
        setup: &OwnedFd,
    ) -> ! {
        sys::reset_signals();
        // Processes get the daemon's limit, not what the spawner needs for many of them.
        rustix::process::setrlimit(Resource::Nofile, self.files).ok();
        // Descriptors are about to be closed beneath their owners, so nothing may unwind or drop.
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            let entered = entered.map(|fd| fd.as_fd());
            self.launch(request, group, entered, streams, setup);
        }))
        .ok();
        sys::exit_now(1)
    }

    fn launch(
        &self,
        request: &Request,
        group: Option<&Group>,
        entered: Option<BorrowedFd<'_>>,
        streams: &[OwnedFd; 3],
        setup: &OwnedFd,
    ) {
        let streams = streams.each_ref().map(|fd| fd.as_fd());
        let devices = self.device_guard(request, group);
        let emulation = self.emulation(request);
        let kept = sys::install_descriptors(streams, setup.as_fd(), entered, emulation);
        let Ok(kept) = kept else { return };
        let context = Context {
            scratch: &self.scratch,
            filter: &self.filter,
            user_namespace: self.user_namespace,
            devices,
            own_network: self.joins_network(request),
            kill_inner: matches!(request, Request::BundleExec { .. }),
            emulation: kept.emulation.as_ref().map(|fd| fd.as_fd()),
            setup: kept.setup.as_fd(),
        };
        let failure = match (request, &kept.extra) {
            (Request::Container(process), _) => match self.enter_groups(process.security, group) {
                Ok(()) => container::run(process, &context),
                Err(failure) => failure,
            },
            (Request::Exec { process, .. }, Some(container)) => {
                match self.enter_groups(process.security, group) {
                    Ok(()) => container::join(process, container.as_fd(), &context),
                    Err(failure) => failure,
                }
            }
            (Request::Host(process), _) => container::execute_host(process),
            (Request::Bundle { process, runtime }, _) => {
                let group = group.filter(|_| !runtime.control_groups);
                let started = self
                    .enter_groups(process.security, group)
                    .and_then(|()| container::start_bundle(process, runtime, &context));
                supervise(started, kept.setup)
            }
            (Request::BundleExec { id, process, runtime, .. }, Some(container)) => {
                let started = container::enter_supervisor(container.as_fd(), &context)
                    .and_then(|()| container::exec_bundle(process, id, runtime, &context));
                supervise(started, kept.setup)
            }
            (Request::Exec { .. } | Request::BundleExec { .. }, None)
            | (Request::PrepareEmulation(_), _) => return,
        };
        send(kept.setup.as_fd(), &Setup::Failed(failure), &[]).ok();
    }

    /// Moves the calling child to the control groups that it was not forked into.
    fn enter_groups(&self, security: Security, group: Option<&Group>) -> Result<(), Failure> {
        if security == Security::Insecure && self.devices == DeviceGuard::ControlGroup {
            self.hierarchy.release_devices().step(|| "leave the device group".into())?;
        }
        group.map_or(Ok(()), Group::enter).step(|| "enter the control group".into())
    }

    /// A descriptor of a running container's first process.
    fn container(&self, number: u64) -> Result<OwnedFd, Failure> {
        let job = self
            .jobs
            .get(&number)
            .filter(|job| matches!(job.kind, JobKind::Container | JobKind::Bundle))
            .filter(|job| job.setup.is_none())
            .ok_or_else(|| Failure::Program("the container is not running".into()))?;
        rustix::process::pidfd_open(job.pid, PidfdFlags::empty())
            .step(|| "find the container".into())
    }

    /// Does what the daemon says about a job.
    fn obey(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let Some(socket) = &job.socket else { return };
        match receive::<Command>(socket) {
            Ok(Some((Command::Kill(signal), _))) => job.kill(signal),
            Ok(Some((Command::Terminate { grace }, _))) => {
                job.terminate(Duration::from_millis(grace));
            }
            Ok(Some((Command::Resize { rows, columns }, _))) => {
                if let Some(terminal) = &job.terminal {
                    // A size the terminal does not take is the caller's mistake, not ours.
                    set_size(terminal.as_fd(), rows, columns).ok();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                job.socket = None;
                job.kill(Signal::KILL.as_raw());
            }
        }
    }

    /// Hears what a child reports before its program runs.
    fn hear(&mut self, number: u64) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.hear();
        }
    }

    /// Collects every child that has ended, including orphans of host processes.
    fn reap(&mut self) {
        let mut drained = [0; 128];
        while rustix::io::read(&self.signals, &mut drained).is_ok() {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            // What children said last may change which process is whose.
            self.jobs.values_mut().for_each(Job::hear);
            let ended = self.jobs.values().find(|job| job.pid == pid).map(|job| job.number);
            if let Some(job) = ended.and_then(|number| self.jobs.remove(&number)) {
                job.finish(status);
            }
        }
    }
}

/// The emulators of a request's processes, if the kernel is to hand programs to them. Who joins a
/// container of a runtime is moved there by the runtime.
fn private_emulation(request: &Request) -> Option<&[Registration]> {
    let emulation = match request {
        Request::Container(process) | Request::Bundle { process, .. } => &process.emulation,
        Request::Exec { process, .. } => &process.emulation,
        Request::PrepareEmulation(registrations) => return Some(registrations),
        Request::BundleExec { .. } | Request::Host(_) => return None,
    };
    match emulation {
        Some(Emulation::Private(registrations)) => Some(registrations),
        Some(Emulation::Explicit(_)) | None => None,
    }
}

/// Waits in the place of a container that a runtime has started, and ends as it ends.
fn supervise(started: Result<container::Supervisor, Failure>, setup: OwnedFd) -> ! {
    match started {
        Ok(supervisor) => {
            // The spawner hears from this that the program runs.
            drop(setup);
            sys::exit_now(exit_code(supervisor.wait()) as i32)
        }
        Err(failure) => {
            send(&setup, &Setup::Failed(failure), &[]).ok();
            sys::exit_now(1)
        }
    }
}

/// Whether the job of a request is in another network than the spawner. A runtime makes the network
/// of a container without any by itself, so that its supervisor stays outside.
fn has_own_network(request: &Request) -> bool {
    match request {
        Request::Container(process) => {
            matches!(process.network, Network::None | Network::Namespace(_))
        }
        Request::Bundle { process, .. } => matches!(process.network, Network::Namespace(_)),
        _ => false,
    }
}

/// The namespaces of a container.
fn namespaces(process: &Process) -> u64 {
    let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let network = match process.network {
        // The child moves to a namespace that is there.
        Network::Default | Network::Host | Network::Namespace(_) => 0,
        Network::None => libc::CLONE_NEWNET,
    };
    (always | network) as u64
}
