//! A container that an OCI runtime makes: the bundle, and the supervisor that waits for the runtime.
//!
//! The supervisor is the first process of its own process namespace, so killing it kills runtime and
//! container alike. It reports the program as started once it runs in place of the runtime.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::launch::Program;
use super::overlay::{attach, bind, directory, filesystem};
use super::spec::{self, LateMount, UserNamespace};
use super::stubs::{Kind, Stubs};
use super::{Context, Identity, emulated, identity, mounts, system};
use crate::process::{ExecProcess, HostProcess, Mount, Process, normal};
use crate::spawner::{Failure, Runtime, Setup, Step, identity as identity_map, send};
use crate::sys;

/// How often a start is looked for.
const PAUSE: Duration = Duration::from_millis(1);
/// How much of a runtime's log is read.
const MAX_LOG_BYTES: usize = 64 << 10;

/// A runtime that is running a process.
#[derive(Debug)]
pub(crate) struct Supervisor {
    runtime: Pid,
    ended: Option<WaitStatus>,
}

/// Files of one call of the runtime, below the scratch space.
struct Call<'a> {
    runtime: &'a Runtime,
    program: String,
    pid_file: PathBuf,
    log: PathBuf,
}

/// Has the runtime make the container of `process`; returns once its program runs.
pub(crate) fn start_bundle(
    process: &Process,
    runtime: &Runtime,
    context: &Context<'_>,
) -> Result<Supervisor, Failure> {
    rustix::process::umask(Mode::empty());
    // The runtime runs inside, and sees the network of its container as that of the machine.
    super::enter_network(process)?;
    super::ease_network(process, context);
    super::make_mounts_private()?;
    // The runtime looks its children up here, by their numbers in this process namespace.
    let proc = filesystem("proc", &[], system::closed()).step(|| "make /proc".into())?;
    directory(Path::new("/proc"))
        .and_then(|place| attach(proc, place))
        .step(|| "mount /proc".into())?;
    if !runtime.control_groups {
        show_version2_only().step(|| "show control groups".into())?;
    }
    let Prepared { identity, args, late } = prepare_root(process, context)?;
    let process = &Process { args, ..process.clone() };
    let namespace = context.emulation.map(|it| show_namespace(it, context.scratch)).transpose()?;
    let bundle = mounts::staged(context.scratch, "bundle").step(|| "make the bundle".into())?;
    let config = spec::config(
        process,
        &identity,
        &context.scratch.join("root"),
        &late,
        &super::host_devices(process)?,
        spec::Machine {
            control_groups: runtime.control_groups,
            terminal_group: !context.user_namespace,
            namespace: namespace.as_ref(),
        },
    );
    write_json(&bundle.join("config.json"), &config).step(|| "write the bundle".into())?;
    let call = Call::new(runtime, &process.args, context.scratch, "run");
    let bundle = bundle.to_string_lossy().into_owned();
    call.start(&["run", "--bundle", &bundle], &process.id, process.tty, context)
}

/// Shows control groups of version 2 alone where both versions are mounted: a runtime that makes
/// none may still refuse to run when it sees both (crun before 1.9).
fn show_version2_only() -> io::Result<()> {
    match directory(Path::new("/sys/fs/cgroup/unified")) {
        Ok(unified) => attach(bind(unified.as_fd())?, &directory(Path::new("/sys/fs/cgroup"))?),
        Err(_) => Ok(()),
    }
}

/// Shows the runtime the user namespace of emulated processes. It makes the container in there, as it
/// would in one of its own; its own rights, such as those over control groups, stay as they are.
fn show_namespace(namespace: BorrowedFd<'_>, scratch: &Path) -> Result<UserNamespace, Failure> {
    let step = || "show the user namespace of emulated processes".to_owned();
    let path = scratch.join("user-namespace");
    fs::write(&path, "").step(step)?;
    attach(bind(namespace).step(step)?, mounts::place(&path).step(step)?).step(step)?;
    let ids = |name: &str| -> Result<Vec<(u32, u32)>, Failure> {
        let map = fs::read_to_string(Path::new("/proc/self").join(name)).step(step)?;
        Ok(identity_map(&map).collect())
    };
    Ok(UserNamespace { path, users: ids("uid_map")?, groups: ids("gid_map")? })
}

/// Has the runtime run `process` in its container `id`; the caller has entered the namespaces of
/// that container's supervisor.
pub(crate) fn exec_bundle(
    process: &ExecProcess,
    id: &str,
    runtime: &Runtime,
    context: &Context<'_>,
) -> Result<Supervisor, Failure> {
    let root = directory(&context.scratch.join("root")).step(|| "open the root".into())?;
    let identity = identity::look_up(root.as_fd(), &process.user)?;
    let args = emulated::of_joining(root.as_fd(), process)?;
    let process = &ExecProcess { args, ..process.clone() };
    let number = rustix::process::getpid().as_raw_nonzero();
    let call = Call::new(runtime, &process.args, context.scratch, &format!("exec-{number}"));
    let file = context.scratch.join(format!("exec-{number}.json"));
    write_json(&file, &spec::exec(process, &identity)).step(|| "write the process".into())?;
    let file = file.to_string_lossy().into_owned();
    call.start(&["exec", "--process", &file], id, process.tty, context)
}

/// A root that is ready for the runtime.
struct Prepared {
    identity: Identity,
    /// What is executed in it.
    args: Vec<String>,
    late: Vec<LateMount>,
}

/// Mounts the root with all that does not lie in what the runtime mounts itself.
fn prepare_root(process: &Process, context: &Context<'_>) -> Result<Prepared, Failure> {
    let root = mounts::mount_root(process, context)?;
    let mut stubs = Stubs::new(&root, process)?;
    for path in ["/proc", "/dev", "/sys"] {
        stubs.ensure(Path::new(path), Kind::Directory)?;
    }
    mounts::mount_network_files(&mut stubs, process, context)?;
    let mut late = Vec::new();
    for (number, mount) in process.sorted_mounts().into_iter().enumerate() {
        if is_late(mount) {
            late.push(stage_late(mount, number, context)?);
        } else {
            mounts::mount_one(&mut stubs, mount, number, false, context)?;
        }
    }
    let identity = identity::look_up(root.as_fd(), &process.user)?.with_groups(&process.groups);
    stubs.make_working_directory(&process.cwd(), &identity)?;
    super::report_stubs(stubs, context)?;
    super::add_trusted(&root, process, context)?;
    let args = emulated::of_process(root.as_fd(), process)?;
    Ok(Prepared { identity, args, late })
}

fn is_late(mount: &Mount) -> bool {
    let dest = normal(&mount.dest);
    ["/proc", "/dev", "/sys"].iter().any(|path| dest.starts_with(path))
}

/// Mounts a source below the scratch space, for the runtime to bind.
fn stage_late(mount: &Mount, number: usize, context: &Context<'_>) -> Result<LateMount, Failure> {
    let step = || format!("mount {}", mount.dest.display());
    let (tree, kind) = mounts::detached(mount, number, context).step(step)?;
    mounts::restrict(&tree, mount, false).step(step)?;
    let place = context.scratch.join(format!("late-{number}"));
    match kind {
        Kind::Directory => fs::create_dir(&place).step(step)?,
        Kind::File => fs::write(&place, "").step(step)?,
    }
    attach(tree, mounts::place(&place).step(step)?).step(step)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(LateMount { dest: text(&normal(&mount.dest)), source: text(&place) })
}

fn write_json(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    fs::write(path, serde_json::to_vec(value)?)
}

impl<'a> Call<'a> {
    fn new(runtime: &'a Runtime, args: &[String], scratch: &Path, name: &str) -> Self {
        Self {
            runtime,
            program: args.first().cloned().unwrap_or_default(),
            pid_file: scratch.join(format!("{name}.pid")),
            log: scratch.join(format!("{name}.log")),
        }
    }

    /// Calls the runtime, and waits until the program runs.
    fn start(
        &self,
        command: &[&str],
        id: &str,
        tty: bool,
        context: &Context<'_>,
    ) -> Result<Supervisor, Failure> {
        let program = self.program(command, id, context.scratch)?;
        if tty {
            // The runtime hears of a new size as the terminal's foreground process.
            rustix::process::setsid().step(|| "start a session".into())?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .step(|| "take the terminal".into())?;
        }
        let Some(runtime) = sys::clone3(0, None).step(|| "fork".into())? else {
            send(context.setup, &Setup::Failed(program.execute()), &[]).ok();
            sys::exit_now(1)
        };
        sys::forward_signals(runtime, sys::FORWARDED);
        let mut supervisor = Supervisor { runtime, ended: None };
        while !self.has_started(context)? && supervisor.ended.is_none() {
            sleep(PAUSE);
            supervisor.look()?;
        }
        match self.complaint() {
            // It may also have ended by now, having run.
            Some(failure) if supervisor.ended.is_some() => Err(failure),
            _ => Ok(supervisor),
        }
    }

    fn program(&self, command: &[&str], id: &str, scratch: &Path) -> Result<Program, Failure> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut args = vec![self.runtime.binary.clone()];
        args.extend(self.runtime.arguments.iter().cloned());
        args.extend(["--root".into(), text(&scratch.join("state"))]);
        args.extend(["--log".into(), text(&self.log), "--log-format".into(), "json".into()]);
        args.extend(command.iter().map(|argument| (*argument).to_owned()));
        args.extend(["--pid-file".into(), text(&self.pid_file), id.to_owned()]);
        Program::of_host(&HostProcess { args, env: Vec::new(), cwd: String::new() })
    }

    /// Whether the program has taken the place of the runtime in its process.
    fn has_started(&self, context: &Context<'_>) -> Result<bool, Failure> {
        let Some(pid) = self.pid() else { return Ok(false) };
        let executable = format!("/proc/{}/exe", pid.as_raw_nonzero());
        let Ok(target) = fs::read_link(&executable) else { return Ok(false) };
        // The runtime runs from its file or from a copy of it in memory.
        let started = !target.starts_with("/memfd:") && !self.is_runtime(&executable);
        if started && context.kill_inner {
            sys::forward_signals(pid, sys::FORWARDED);
        }
        Ok(started)
    }

    fn is_runtime(&self, executable: &str) -> bool {
        let runtime = fs::metadata(&self.runtime.binary);
        let found = fs::metadata(executable);
        let (Ok(runtime), Ok(found)) = (runtime, found) else { return false };
        (runtime.dev(), runtime.ino()) == (found.dev(), found.ino())
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?)
    }

    /// What the runtime has logged as an error.
    fn complaint(&self) -> Option<Failure> {
        let bytes = fs::read(&self.log).ok()?;
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOG_BYTES)]).into_owned();
        let entries = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let message = entries
            .filter(|entry: &serde_json::Value| entry["level"] == "error")
            .filter_map(|entry| entry["msg"].as_str().map(|it| it.trim().to_owned()))
            .next_back()?;
        Some(self.failure(message))
    }

    /// A runtime's complaint about the program in the words of the native executor, or as it is.
    fn failure(&self, message: String) -> Failure {
        const KNOWN: &[&str] =
            &["no such file or directory", "permission denied", "exec format error"];
        let lower = message.to_lowercase();
        let about_program = (message.contains(&self.program) && lower.contains("exec"))
            || lower.starts_with("open executable");
        // One of the runtimes says so of absolute paths, too.
        let searched = !self.program.contains('/');
        if about_program && searched && lower.contains("not found in $path") {
            let program = &self.program;
            return Failure::Program(format!(
                "exec: {program:?}: executable file not found in $PATH"
            ));
        }
        match KNOWN.iter().find(|known| about_program && lower.contains(**known)) {
            Some(known) => Failure::Program(format!("exec {}: {known}", self.program)),
            None => Failure::Setup { step: self.runtime.name.clone(), message },
        }
    }
}

impl Supervisor {
    /// Notices if the runtime has ended.
    fn look(&mut self) -> Result<(), Failure> {
        while let Some((pid, status)) =
            rustix::process::wait(WaitOptions::NOHANG).step(|| "wait for the runtime".into())?
        {
            if pid == self.runtime {
                self.ended = Some(status);
                break;
            }
        }
        Ok(())
    }

    /// Waits until the runtime has ended; returns its status, which is the container's.
    pub(crate) fn wait(mut self) -> WaitStatus {
        loop {
            if let Some(status) = self.ended {
                return status;
            }
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == self.runtime => self.ended = Some(status),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => sys::exit_now(255),
            }
        }
    }
}

/// Moves the calling process to the namespaces of a supervisor, leaving a parent behind.
pub(crate) fn enter_supervisor(
    supervisor: BorrowedFd<'_>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    use rustix::thread::ThreadNameSpaceType as Space;
    let mut spaces = Space::MOUNT | Space::PROCESS_ID;
    spaces.set(Space::NETWORK, context.own_network);
    super::enter_spaces(supervisor, spaces, context)
}
