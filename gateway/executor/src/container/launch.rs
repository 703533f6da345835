//! The last steps of a child: privileges given up, limits set, program executed.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FileType;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Context, Identity};
use crate::capabilities;
use crate::process::{DEFAULT_PATH, ExecProcess, HostProcess, Process, Security, Ulimit, normal};
use crate::spawner::{Failure, Step, describe};
use crate::sys::{self, CStrings};

/// A program whose surroundings are complete.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    arguments: CStrings,
    environment: CStrings,
    path: String,
}

impl Program {
    /// Confines the calling process for `process`, which executes `args`.
    pub(crate) fn new(
        process: &Process,
        args: &[String],
        identity: Identity,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        let program = Self::parse(args, &process.env, Some(&identity.home))?;
        set_limits(&process.ulimits)?;
        enter_directory(&process.cwd)?;
        confine(process.security, process.tty, &identity, context)?;
        Ok(program)
    }

    /// Confines the calling process, which has entered a container, for `process`, which executes
    /// `args`.
    pub(crate) fn joining(
        process: &ExecProcess,
        args: &[String],
        identity: Identity,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        let program = Self::parse(args, &process.env, Some(&identity.home))?;
        enter_directory(&process.cwd)?;
        confine(process.security, process.tty, &identity, context)?;
        Ok(program)
    }

    /// A program of the host, which is not confined.
    pub(crate) fn of_host(process: &HostProcess) -> Result<Self, Failure> {
        Self::parse(&process.args, &process.env, None)
    }

    fn parse(args: &[String], env: &[String], home: Option<&str>) -> Result<Self, Failure> {
        let name = args.first().filter(|name| !name.is_empty()).cloned().ok_or_else(|| {
            Failure::Program("no command specified: the arguments are empty".into())
        })?;
        let environment = environment(env, home);
        let path =
            environment.iter().find_map(|entry| entry.strip_prefix("PATH=").map(str::to_owned));
        let strings = |strings: &[String], what: &str| {
            CStrings::new(strings.iter().map(String::as_str)).step(|| format!("read the {what}"))
        };
        Ok(Self {
            name,
            arguments: strings(args, "arguments")?,
            environment: strings(&environment, "environment")?,
            path: path.unwrap_or_default(),
        })
    }

    /// Becomes the program; returns only to say why that failed.
    pub(crate) fn execute(self) -> Failure {
        if self.name.contains('/') {
            return self.failed(&self.name, &self.try_execute(&self.name));
        }
        let mut refused = None;
        for directory in self.path.split(':').filter(|directory| directory.starts_with('/')) {
            let candidate = format!("{directory}/{}", self.name);
            let error = self.try_execute(&candidate);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => {}
                // The search goes on, as there may be one that can be executed further down.
                Some(libc::EACCES) => refused = Some((candidate, error)),
                _ => return self.failed(&candidate, &error),
            }
        }
        match refused {
            Some((candidate, error)) => self.failed(&candidate, &error),
            None => Failure::Program(format!(
                "exec: {:?}: executable file not found in $PATH",
                self.name
            )),
        }
    }

    fn try_execute(&self, path: &str) -> std::io::Error {
        match CString::new(path) {
            Ok(path) => sys::execute(&path, &self.arguments, &self.environment),
            Err(error) => error.into(),
        }
    }

    fn failed(&self, path: &str, error: &std::io::Error) -> Failure {
        Failure::Program(format!("exec {path}: {}", describe(error)))
    }
}

/// Becomes a plain process of the host.
pub(crate) fn execute_host(process: &HostProcess) -> Failure {
    let program = match Program::of_host(process) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    // A group of its own, so that it can be killed with all it started.
    let group = rustix::process::setpgid(None, None).step(|| "start a process group".into());
    let ready =
        group.and_then(|()| enter_directory(&process.cwd)).and_then(|()| die_with_spawner());
    match ready {
        Ok(()) => program.execute(),
        Err(failure) => failure,
    }
}

/// `env` as the program gets it: each name once, with a search path and a home.
pub(crate) fn environment(env: &[String], home: Option<&str>) -> Vec<String> {
    let mut environment = last_of_each(env);
    if !has(&environment, "PATH=") {
        environment.push(format!("PATH={DEFAULT_PATH}"));
    }
    if let Some(home) = home.filter(|_| !has(&environment, "HOME=")) {
        environment.push(format!("HOME={home}"));
    }
    environment
}

/// `env` without the earlier ones of entries with the same name.
fn last_of_each(env: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut seen = std::collections::BTreeSet::new();
    let mut kept: Vec<String> =
        env.iter().rev().filter(|entry| seen.insert(name(entry))).cloned().collect();
    kept.reverse();
    kept
}

fn has(environment: &[String], prefix: &str) -> bool {
    environment.iter().any(|entry| entry.starts_with(prefix))
}

fn enter_directory(path: &str) -> Result<(), Failure> {
    let path = normal(Path::new(path));
    rustix::process::chdir(&path).step(|| format!("enter working directory {}", path.display()))
}

/// Takes the identity and the privileges of a container's process.
fn confine(
    security: Security,
    tty: bool,
    identity: &Identity,
    context: &Context<'_>,
) -> Result<(), Failure> {
    rustix::process::setsid().step(|| "start a session".into())?;
    if tty {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .step(|| "take the terminal".into())?;
    }
    own_streams(identity);
    let available =
        rustix::thread::capabilities(None).step(|| "read capabilities".into())?.permitted;
    let wanted = available & capabilities::of(security);
    sys::limit_bounding_set(wanted.bits()).step(|| "limit capabilities".into())?;
    sys::set_group_ids(identity.gid, &identity.groups)
        .map_err(|(step, error)| Failure::setup(step, error))?;
    if security == Security::Restricted {
        rustix::thread::set_no_new_privs(true).step(|| "refuse new privileges".into())?;
    }
    if security != Security::Insecure {
        // While still privileged, as the process may gain privileges later (set-user-id programs).
        sys::install_filter(context.filter.instructions())
            .step(|| "install the system call filter".into())?;
    }
    become_user(security, identity.uid, wanted)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    die_with_spawner()
}

fn become_user(security: Security, uid: u32, wanted: CapabilitySet) -> Result<(), Failure> {
    let unconfined = security == Security::Insecure;
    rustix::thread::set_keep_capabilities(unconfined).step(|| "keep capabilities".into())?;
    sys::set_user(uid).step(|| format!("become user {uid}"))?;
    if uid != 0 && !unconfined {
        return Ok(());
    }
    let inheritable = if unconfined { wanted } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: wanted, permitted: wanted, inheritable };
    rustix::thread::set_capabilities(None, sets).step(|| "set capabilities".into())?;
    if unconfined {
        for capability in wanted.iter() {
            // Only matters for users other than root; an old kernel does without.
            rustix::thread::configure_capability_in_ambient_set(capability, true).ok();
        }
    }
    Ok(())
}

/// Lets a user that is not root reopen its streams through `/dev/stdout` and the like.
fn own_streams(identity: &Identity) {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream.as_fd()) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(stream);
        if kind == FileType::Fifo || terminal {
            let owner = rustix::fs::Uid::from_raw(identity.uid);
            rustix::fs::fchown(stream, Some(owner), None).ok();
        }
    }
}

/// Has the kernel kill this process when its spawner dies.
///
/// Set last, as a change of user clears it.
fn die_with_spawner() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step(|| "tie to the spawner".into())
}

fn set_limits(ulimits: &[Ulimit]) -> Result<(), Failure> {
    for ulimit in ulimits {
        let step = || format!("set ulimit {}={}:{}", ulimit.name, ulimit.soft, ulimit.hard);
        let resource = resource(&ulimit.name)
            .ok_or_else(|| Failure::Setup { step: step(), message: "no such limit".into() })?;
        let value = |limit: i64| u64::try_from(limit).ok();
        let limit = Rlimit { current: value(ulimit.soft), maximum: value(ulimit.hard) };
        rustix::process::setrlimit(resource, limit).step(step)?;
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}
