//! The system calls that no safe library covers: clone3, exec, mount_setattr, seccomp, signals.
//!
//! Every `unsafe` of the crate is here, one call per function, each with the reason it is sound.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The descriptor on which a re-executed spawner finds its control socket.
pub(crate) const CONTROL_FD: RawFd = 3;

/// C strings and the null-terminated array of pointers to them that `execve` takes.
#[derive(Debug)]
pub(crate) struct CStrings {
    pointers: Vec<*const libc::c_char>,
    /// Owns what `pointers` point to; the heap blocks do not move with the vector.
    _strings: Vec<CString>,
}

impl CStrings {
    /// Copies `strings`; fails if one contains a zero byte.
    pub(crate) fn new<'a>(strings: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let strings: Vec<CString> =
            strings.into_iter().map(CString::new).collect::<Result<_, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(ptr::null());
        Ok(Self { pointers, _strings: strings })
    }
}

/// Forks with `flags`; `None` is the child.
///
/// The child may do anything only if the caller is single-threaded; otherwise it may only exec.
/// With `cgroup`, the child starts inside that control group (version 2).
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    // SAFETY: clone_args is plain data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    // A child for the caller's own parent announces itself as the caller would.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and a stack of its own, clone3 behaves as fork.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    let result = match (result, io::Error::last_os_error().raw_os_error()) {
        // Filters of container runtimes pretend that the call is unknown, since they cannot look
        // into its arguments; the older one does the same, but for control groups.
        (-1, Some(libc::ENOSYS)) if cgroup.is_none() => {
            let flags = flags | args.exit_signal;
            // SAFETY: as above; the arguments that the flags do not name are not looked at.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
        }
        (result, _) => result,
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// Starts the current executable again, with `control` as descriptor 3.
///
/// It becomes the first process of its own process namespace if `flags` say so, so that its death
/// is the death of all it started. Safe to call from a program with threads.
pub(crate) fn spawn_self(
    control: BorrowedFd<'_>,
    arguments: &CStrings,
    flags: u64,
) -> io::Result<Pid> {
    let environment = CStrings::new([])?;
    if let Some(pid) = clone3(flags, None)? {
        return Ok(pid);
    }
    // SAFETY: the child of a program with threads; only async-signal-safe calls follow, on memory
    // that was made before the fork.
    unsafe {
        let control = control.as_raw_fd();
        if control == CONTROL_FD {
            libc::fcntl(control, libc::F_SETFD, 0);
        } else {
            libc::dup2(control, CONTROL_FD);
        }
        libc::setsid();
        libc::execve(
            c"/proc/self/exe".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        );
        libc::_exit(127)
    }
}

/// Takes the control socket of a spawner, if descriptor 3 is a socket.
pub(crate) fn take_control() -> Option<OwnedFd> {
    // SAFETY: the descriptor is only borrowed to ask what it is, and stays open meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(CONTROL_FD) };
    let stat = rustix::fs::fstat(borrowed).ok()?;
    let socket = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket();
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: called once, at the start of a spawner, which was given the descriptor to own.
    socket.then(|| unsafe { OwnedFd::from_raw_fd(CONTROL_FD) })
}

/// Executes the file behind `program`; returns only if that fails.
pub(crate) fn execute_fd(program: BorrowedFd<'_>, arguments: &CStrings) -> io::Error {
    let Ok(environment) = CStrings::new([]) else { return io::ErrorKind::InvalidInput.into() };
    // SAFETY: all arrays are null-terminated and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Executes `program`; returns only if that fails.
pub(crate) fn execute(program: &CStr, arguments: &CStrings, environment: &CStrings) -> io::Error {
    // SAFETY: all arrays are null-terminated and outlive the call.
    unsafe {
        libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    }
    io::Error::last_os_error()
}

/// Ends the process at once, without running destructors or flushing anything.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// What a child keeps besides its streams.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where it reports to.
    pub(crate) setup: OwnedFd,
    /// The container it joins.
    pub(crate) extra: Option<OwnedFd>,
    /// The user namespace of emulated processes.
    pub(crate) emulation: Option<OwnedFd>,
}

/// Makes `streams` descriptors 0 to 2, keeps `setup` and two more, and closes every other one.
///
/// For a freshly forked child: descriptors owned by values elsewhere are closed beneath them, so
/// the caller must never drop those, but exec or [`exit_now`].
pub(crate) fn install_descriptors(
    streams: [BorrowedFd<'_>; 3],
    setup: BorrowedFd<'_>,
    extra: Option<BorrowedFd<'_>>,
    emulation: Option<BorrowedFd<'_>>,
) -> io::Result<Kept> {
    // Moved out of the way first, so that no dup2 overwrites a descriptor still needed.
    let move_up =
        |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 16).map(OwnedFd::into_raw_fd);
    let wanted =
        [Some(streams[0]), Some(streams[1]), Some(streams[2]), Some(setup), extra, emulation];
    let mut moved = Vec::new();
    for fd in wanted.into_iter().flatten() {
        moved.push(move_up(fd)?);
    }
    // SAFETY: dup and close on descriptor numbers; ownership is settled as documented, the new
    // descriptors from 3 on belong to nobody else.
    unsafe {
        for (number, fd) in moved.iter().enumerate() {
            let flags = if number < 3 { 0 } else { libc::O_CLOEXEC };
            check(libc::dup3(*fd, number as RawFd, flags))?;
        }
        let first_closed = moved.len() as u32;
        check(libc::syscall(libc::SYS_close_range, first_closed, u32::MAX, 0) as i32)?;
        let mut numbers = 4..first_closed as RawFd;
        let mut own = || numbers.next().map(|number| OwnedFd::from_raw_fd(number));
        let extra = extra.and_then(|_| own());
        let emulation = emulation.and_then(|_| own());
        Ok(Kept { setup: OwnedFd::from_raw_fd(3), extra, emulation })
    }
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount behind `fd`.
pub(crate) fn mount_setattr(fd: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is valid for the size given, the path is empty.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as i32)
}

/// Installs a system call filter on the calling thread.
pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` instructions, which the kernel copies and verifies.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    check(result as i32)
}

/// Loads a program of device control groups (version 2).
pub(crate) fn load_device_program(program: &[u64]) -> io::Result<OwnedFd> {
    const PROG_LOAD: i32 = 5;
    const TYPE_CGROUP_DEVICE: u64 = 15;
    let mut attributes = [0_u64; 16];
    // Two words share the first place: the type, and the number of instructions.
    attributes[0] = words(TYPE_CGROUP_DEVICE as u32, program.len() as u32);
    attributes[1] = program.as_ptr() as u64;
    attributes[2] = c"Apache-2.0".as_ptr() as u64;
    let fd = bpf(PROG_LOAD, &attributes)?;
    // SAFETY: the call returned a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to the control group behind `group`.
pub(crate) fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    const PROG_ATTACH: i32 = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let mut attributes = [0_u64; 16];
    attributes[0] = words(group.as_raw_fd() as u32, program.as_raw_fd() as u32);
    attributes[1] = words(CGROUP_DEVICE, ALLOW_MULTI);
    bpf(PROG_ATTACH, &attributes).map(drop)
}

/// Two words as they lie in memory one after the other.
fn words(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn bpf(command: i32, attributes: &[u64; 16]) -> io::Result<i32> {
    // SAFETY: the attributes are as large as said, and what they point to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    check(result as i32)?;
    Ok(result as i32)
}

/// Removes every capability whose bit is not in `keep` from the bounding set.
pub(crate) fn limit_bounding_set(keep: u64) -> io::Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: prctl with integer arguments.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) } != 0
        {
            let error = io::Error::last_os_error();
            // Past the last capability this kernel knows.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Blocks the signals of a spawner and returns a descriptor that reports `SIGCHLD`.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; signalfd returns a new descriptor.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Gives a freshly forked child the default action of every signal, and blocks none.
pub(crate) fn reset_signals() {
    // SAFETY: SIG_DFL is a valid action for every signal; failures (SIGKILL) do not matter.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Signals that a supervisor passes on.
pub(crate) const FORWARDED: &[i32] = &[
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    KILL_REQUEST,
];

/// Asks a supervisor to send `SIGKILL`, which it could not pass on.
const KILL_REQUEST: i32 = 40;

/// Asks the supervisor `pid` to kill what it supervises.
pub(crate) fn request_kill(pid: Pid) {
    // SAFETY: integer arguments only; the process is a child that was not waited for yet.
    unsafe {
        libc::kill(pid.as_raw_nonzero().get(), KILL_REQUEST);
    }
}

/// Handles `signals` by passing them on to `child`, from a signal handler.
pub(crate) fn forward_signals(child: Pid, signals: &[i32]) {
    use std::sync::atomic::{AtomicI32, Ordering};
    static CHILD: AtomicI32 = AtomicI32::new(0);
    extern "C" fn forward(signal: libc::c_int) {
        let signal = if signal == KILL_REQUEST { libc::SIGKILL } else { signal };
        // SAFETY: kill is async-signal-safe.
        unsafe {
            libc::kill(CHILD.load(Ordering::Relaxed), signal);
        }
    }
    CHILD.store(child.as_raw_nonzero().get(), Ordering::Relaxed);
    for signal in signals {
        // SAFETY: the handler only loads an atomic and calls kill.
        unsafe {
            libc::signal(*signal, forward as extern "C" fn(libc::c_int) as libc::sighandler_t);
        }
    }
}

/// Brings the loopback device of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the request structure is zeroed and outlives both calls; the socket is closed.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(socket)?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request))
    }
}

/// Sets the groups of the whole (single-threaded) process.
pub(crate) fn set_group_ids(gid: u32, groups: &[u32]) -> Result<(), (&'static str, io::Error)> {
    set_groups(groups, gid).map_err(|error| ("set supplementary groups", error))?;
    // SAFETY: integer arguments only.
    check(unsafe { libc::setresgid(gid, gid, gid) }).map_err(|error| ("set group id", error))
}

/// Sets the supplementary groups, or does without where a user namespace forbids it.
fn set_groups(groups: &[u32], gid: u32) -> io::Result<()> {
    // SAFETY: the pointer is valid for the length given.
    let result = check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) });
    match result {
        // A namespace with one mapped id denies the call, and has no other group to grant.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && gid == 0 => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set_mapped_groups(groups),
        result => result,
    }
}

/// Sets those of `groups` that exist in the user namespace.
fn set_mapped_groups(groups: &[u32]) -> io::Result<()> {
    let mut mapped = Vec::new();
    for group in groups {
        mapped.push(*group);
        // SAFETY: the pointer is valid for the length given.
        if unsafe { libc::setgroups(mapped.len(), mapped.as_ptr()) } != 0 {
            mapped.pop();
        }
    }
    Ok(())
}

/// Sets the user id; the kernel then drops the capabilities of a user that is not root.
pub(crate) fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Registers a descriptor with the runtime, which must be tokio's.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that watches it and closed after it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// The last error if `result` is −1.
fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Leaves namespaces of the given kinds for new ones; for a process without threads.
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: integer argument only; descriptors are not unshared.
    check(unsafe { libc::unshare(flags) })
}
