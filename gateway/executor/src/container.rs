//! The inside of a new container, from the fork to the exec.
//!
//! [`run`] executes in a freshly forked, single-threaded child that is already in new namespaces. It
//! builds the file system under a private scratch mount, moves into it, gives up privileges and
//! becomes the program. It returns only to say why that failed.

mod bundle;
mod devices;
mod emulated;
mod granted;
mod identity;
mod launch;
mod mounts;
mod overlay;
mod spec;
mod stubs;
mod system;
mod trusted;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

pub(crate) use bundle::{Supervisor, enter_supervisor, exec_bundle, start_bundle};
pub(crate) use devices::{DeviceGuard, Usable, device_rules, usable as usable_devices};
pub(crate) use emulated::with_emulator;
pub(crate) use granted::{host_devices, usable as granted_devices};
pub(crate) use identity::Identity;
pub(crate) use launch::execute_host;
pub(crate) use overlay::filesystem;
pub(crate) use stubs::{StubDirectory, Stubs, remove as remove_stubs};
pub(crate) use system::closed;
pub(crate) use trusted::{Trusted, remove as remove_trusted};

use crate::process::{ExecProcess, Network, Process, Security};
use crate::seccomp::Filter;
use crate::spawner::{Failure, Setup, Step, send};
use crate::sys;

/// What a child inherits from its spawner.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// An empty directory to mount the container's private scratch space on.
    pub(crate) scratch: &'a Path,
    /// The system call filter of a sandbox.
    pub(crate) filter: &'a Filter,
    /// Whether this is a user namespace, where some file systems and ids are out of reach.
    pub(crate) user_namespace: bool,
    /// How device nodes made by the container are kept dead.
    pub(crate) devices: DeviceGuard,
    /// Whether the container to join has a network of its own.
    pub(crate) own_network: bool,
    /// Whether signals are for the program inside, past a runtime that would not outlive `SIGKILL`.
    pub(crate) kill_inner: bool,
    /// The user namespace in which programs of another architecture are handed to emulators.
    pub(crate) emulation: Option<BorrowedFd<'a>>,
    /// Where to report what the spawner must know.
    pub(crate) setup: BorrowedFd<'a>,
}

/// Becomes `process`; the caller has forked it into new namespaces.
pub(crate) fn run(process: &Process, context: &Context<'_>) -> Failure {
    match prepare(process, context) {
        Ok(program) => program.execute(),
        Err(failure) => failure,
    }
}

/// Becomes `process` inside the namespaces of `container`, a pidfd.
pub(crate) fn join(
    process: &ExecProcess,
    container: BorrowedFd<'_>,
    context: &Context<'_>,
) -> Failure {
    match enter(process, container, context) {
        Ok(program) => program.execute(),
        Err(failure) => failure,
    }
}

/// Builds the container around the calling process.
fn prepare(process: &Process, context: &Context<'_>) -> Result<launch::Program, Failure> {
    rustix::process::umask(Mode::empty());
    enter_network(process)?;
    ease_network(process, context);
    make_mounts_private()?;
    let root = mounts::mount_root(process, context)?;
    let mut stubs = Stubs::new(&root, process)?;
    system::mount(&mut stubs, process, context)?;
    mounts::mount_network_files(&mut stubs, process, context)?;
    mounts::mount_all(&mut stubs, process, context)?;
    let identity = identity::look_up(root.as_fd(), &process.user)?.with_groups(&process.groups);
    stubs.make_working_directory(&process.cwd(), &identity)?;
    granted::make(root.as_fd(), process, &identity, context)?;
    add_trusted(&root, process, context)?;
    system::mask(&root, process)?;
    if process.readonly_rootfs {
        sys::mount_setattr(root.as_fd(), libc::MOUNT_ATTR_RDONLY, false)
            .step(|| "make the root read-only".into())?;
    }
    report_stubs(stubs, context)?;
    let root = &root;
    let args = emulated::of_process(root.as_fd(), process)?;
    change_root(root)?;
    name_and_network(process)?;
    enter_emulation(process.security, context)?;
    launch::Program::new(process, &args, identity, context)
}

/// Moves the calling process to the network namespace of `process`, if it has one already.
fn enter_network(process: &Process) -> Result<(), Failure> {
    let Network::Namespace(path) = &process.network else { return Ok(()) };
    let step = || format!("enter the network namespace {}", path.display());
    let namespace =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).step(step)
}

/// Lets every process of a network listen on low ports and ping. In the user namespace of emulated
/// processes no capability gives that, as the network is not the namespace's. It is not taken back:
/// a network that is used again is for steps, which may do so otherwise.
fn ease_network(process: &Process, context: &Context<'_>) {
    let own = matches!(process.network, Network::None | Network::Namespace(_));
    if context.emulation.is_none() || !own {
        return;
    }
    for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")]
    {
        // Few programs need either; where it cannot be had, they say so themselves.
        std::fs::write(Path::new("/proc/sys/net/ipv4").join(name), value).ok();
    }
}

/// Moves the calling process, whose surroundings are complete, to where its programs are emulated.
fn enter_emulation(security: Security, context: &Context<'_>) -> Result<(), Failure> {
    let Some(namespace) = context.emulation else { return Ok(()) };
    let kind = Some(rustix::thread::LinkNameSpaceType::User);
    rustix::thread::move_into_link_name_space(namespace, kind)
        .step(|| "enter the user namespace of emulated processes".into())?;
    if security == Security::Insecure {
        // Who may mount at all has to own the mounts that it changes.
        sys::unshare(libc::CLONE_NEWNS).step(|| "own the mounts".into())?;
    }
    Ok(())
}

/// Keeps what is mounted from here on to this mount namespace.
fn make_mounts_private() -> Result<(), Failure> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).step(|| "make mounts private".into())
}

/// Adds the certificate that the process is to trust, and tells the spawner to remove it in the end.
fn add_trusted(root: &OwnedFd, process: &Process, context: &Context<'_>) -> Result<(), Failure> {
    let Some(certificate) = &process.trusted else { return Ok(()) };
    let Some((trusted, writable)) = trusted::add(root, certificate)? else { return Ok(()) };
    send(context.setup, &Setup::Trusted(trusted), &[writable.as_fd()])
        .step(|| "report a certificate".into())
}

/// Tells the spawner what to remove in the end.
fn report_stubs(stubs: Stubs<'_>, context: &Context<'_>) -> Result<(), Failure> {
    for (directory, descriptor) in stubs.finish() {
        send(context.setup, &Setup::Stubs(directory), &[descriptor.as_fd()])
            .step(|| "report mount points".into())?;
    }
    Ok(())
}

/// Makes `root` the root of the mount namespace, and lets go of the old one.
fn change_root(root: &OwnedFd) -> Result<(), Failure> {
    rustix::process::fchdir(root).step(|| "enter the root".into())?;
    rustix::process::pivot_root(".", ".").step(|| "change the root".into())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(|| "leave the old root".into())?;
    rustix::process::chdir("/").step(|| "enter the new root".into())
}

/// Sets the host name, and brings the loopback of a private network up.
fn name_and_network(process: &Process) -> Result<(), Failure> {
    rustix::system::sethostname(process.hostname().as_bytes())
        .step(|| format!("set host name {}", process.hostname()))?;
    match process.network {
        // Whoever made the namespace has set it up.
        Network::Default | Network::Host | Network::Namespace(_) => Ok(()),
        Network::None => sys::loopback_up().step(|| "bring the loopback device up".into()),
    }
}

/// Moves the calling process into a container, leaving a parent behind that only says who it is.
fn enter(
    process: &ExecProcess,
    container: BorrowedFd<'_>,
    context: &Context<'_>,
) -> Result<launch::Program, Failure> {
    use rustix::thread::ThreadNameSpaceType as Space;
    let spaces = Space::MOUNT | Space::PROCESS_ID | Space::HOST_NAME_AND_NIS_DOMAIN_NAME;
    let mut spaces = spaces | Space::INTER_PROCESS_COMMUNICATION;
    // Those that the container shares with the machine cannot be entered without privileges.
    spaces.set(Space::NETWORK, context.own_network);
    spaces.set(Space::CONTROL_GROUP, system::has_version2());
    enter_spaces(container, spaces, context)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open the root".into())?;
    let identity = identity::look_up(root.as_fd(), &process.user)?;
    let args = emulated::of_joining(root.as_fd(), process)?;
    if let Some(namespace) = context.emulation {
        let kind = Some(rustix::thread::LinkNameSpaceType::User);
        rustix::thread::move_into_link_name_space(namespace, kind)
            .step(|| "enter the user namespace of emulated processes".into())?;
    }
    launch::Program::joining(process, &args, identity, context)
}

/// Enters namespaces of `process`, a pidfd. The caller's parent gets the child that returns from
/// here as its own, since only a new process is in a process namespace.
fn enter_spaces(
    process: BorrowedFd<'_>,
    spaces: rustix::thread::ThreadNameSpaceType,
    context: &Context<'_>,
) -> Result<(), Failure> {
    // Processes of the container must not reach into one that still carries the host with it.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .step(|| "hide from the container".into())?;
    rustix::thread::move_into_thread_name_spaces(process, spaces)
        .step(|| "enter the container".into())?;
    if let Some(pid) = sys::clone3(libc::CLONE_PARENT as u64, None).step(|| "fork".into())? {
        let joined = Setup::Joined(pid.as_raw_nonzero().get());
        let code = i32::from(send(context.setup, &joined, &[]).is_err());
        sys::exit_now(code);
    }
    Ok(())
}
