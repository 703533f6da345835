//! What facts mean for builds: one function for each thing that first builds fail by.
//!
//! A check is a problem if builds that need nothing special fail by it, and a warning if only some do,
//! or do less than they could.

use std::time::{Duration, SystemTime};

use kiln_emulation::{ARCHITECTURES, Lack, Machine, Way};
use kiln_executor::Standing;
use kiln_oci::Platform;

use super::facts::{Facts, Groups, Trial};

/// Less than this is not enough for most builds.
const LITTLE: u64 = 1 << 30;
/// Less than this is soon used up.
const SOON_USED_UP: u64 = 10 << 30;
/// Fewer are soon used up.
const FEW_FILES: u64 = 20_000;
/// A clock may have been a bit ahead when the program was installed.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The kernel from which on all is there that containers are made with.
const OLDEST: (u32, u32) = (5, 12);

/// What is decided about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// What that means.
    pub message: String,
    /// A command that mends it, or advice.
    pub fix: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Some builds do less than they could.
    Warning,
    /// Ordinary builds fail.
    Problem,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Check {
    fn ok(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status: Status::Ok, message: message.into(), fix: None }
    }

    fn warning(name: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warning, fix: Some(fix.into()), ..Self::ok(name, message) }
    }

    fn problem(name: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Problem, fix: Some(fix.into()), ..Self::ok(name, message) }
    }
}

/// Everything that can be said about a machine, what first builds need first.
pub(crate) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        kernel(facts),
        namespaces(facts),
        ids(facts),
        containers(facts),
        overlay(facts),
        groups(facts),
        network(facts),
        names(facts),
        disk(facts),
        clock(facts),
        authorities(facts),
        git(facts),
    ];
    checks.extend(facts.tried.iter().map(|trial| tried(facts, trial)));
    checks.extend(lacking(facts));
    checks
}

fn kernel(facts: &Facts) -> Check {
    let mut numbers = facts.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok);
    let version = next().zip(next());
    let message = format!("Linux {}", facts.kernel);
    match version {
        Some(version) if version < OLDEST => {
            let (major, minor) = OLDEST;
            Check::problem(
                "kernel",
                format!("{message} is too old: containers are made as Linux {major}.{minor} can"),
                "install a newer kernel",
            )
        }
        _ => Check::ok("kernel", message),
    }
}

fn namespaces(facts: &Facts) -> Check {
    const NAME: &str = "user namespaces";
    match facts.standing {
        Standing::Root => Check::ok(NAME, "not needed, as this is root"),
        Standing::UserNamespace => Check::ok(NAME, "builds run without root"),
        Standing::Plain => {
            let limits = facts.namespaces;
            let (why, fix) = if limits.most == Some(0) {
                ("the kernel allows none", "sysctl -w user.max_user_namespaces=15000")
            } else if limits.switched_off {
                (
                    "the kernel allows them to root alone",
                    "sysctl -w kernel.unprivileged_userns_clone=1",
                )
            } else if limits.restricted {
                (
                    "AppArmor takes their rights away",
                    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
                )
            } else {
                (
                    "they cannot be made here",
                    "run as root; in a container: docker run --security-opt seccomp=unconfined \
                     --security-opt apparmor=unconfined --security-opt systempaths=unconfined",
                )
            };
            Check::problem(NAME, format!("{why}, so steps cannot be run without root"), fix)
        }
    }
}

fn ids(facts: &Facts) -> Check {
    const NAME: &str = "subordinate ids";
    match (facts.standing, facts.ids.mapped) {
        (Standing::Root, _) => Check::ok(NAME, "not needed, as this is root"),
        (_, 2..) => Check::ok(NAME, format!("files may have {} owners", facts.ids.mapped)),
        _ => {
            let fix = match facts.ids.granted {
                true => install(facts, "uidmap"),
                false => format!(
                    "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
                    facts.user
                ),
            };
            let why = match facts.ids.granted {
                true => "there is no newuidmap to use those of /etc/subuid with",
                false => "there are none in /etc/subuid and /etc/subgid",
            };
            let message = format!(
                "{why}: all files belong to one owner, and steps that change it fail (apt-get does)"
            );
            Check::warning(NAME, message, fix)
        }
    }
}

fn containers(facts: &Facts) -> Check {
    const NAME: &str = "containers";
    let own = facts.tried.iter().find(|trial| trial.platform == facts.machine.own);
    match (&facts.containers, own.and_then(|trial| trial.failed.as_ref())) {
        (Some(why), _) => Check::problem(NAME, why.clone(), "see what is said of user namespaces"),
        (None, Some(why)) => {
            Check::problem(NAME, format!("a process did not run: {why}"), "kiln --debug doctor")
        }
        (None, None) => Check::ok(NAME, "a process ran in one"),
    }
}

fn overlay(facts: &Facts) -> Check {
    match &facts.overlay {
        None => Check::ok("overlayfs", "layers are laid over one another"),
        Some(why) => Check::warning(
            "overlayfs",
            format!("{why}: layers are copied instead, which takes time and space"),
            "modprobe overlay, or --root on ext4 or xfs",
        ),
    }
}

fn groups(facts: &Facts) -> Check {
    const NAME: &str = "control groups";
    let unlimited =
        "steps run without limits of memory and processors, and one that asks for them fails";
    let delegate = "systemd-run --user --scope -p Delegate=yes kilnd";
    match &facts.groups {
        Groups::Version2 { controllers, writable: true } => {
            let missing: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|wanted| !controllers.iter().any(|it| it == wanted))
                .collect();
            match missing[..] {
                [] => Check::ok(NAME, "version 2"),
                _ => Check::warning(
                    NAME,
                    format!("version 2 without {}: these are not limited", missing.join(", ")),
                    delegate,
                ),
            }
        }
        Groups::Version1 { writable: true } => Check::ok(NAME, "version 1"),
        Groups::Version2 { .. } | Groups::Version1 { .. } => {
            Check::warning(NAME, format!("they are not this user's: {unlimited}"), delegate)
        }
        Groups::None => Check::warning(
            NAME,
            format!("not mounted: {unlimited}"),
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
    }
}

fn network(facts: &Facts) -> Check {
    const NAME: &str = "network";
    let helper = facts.programs.iter().find(|name| ["pasta", "slirp4netns"].contains(name));
    match (facts.standing, helper) {
        (Standing::Root, _) if facts.network.filter => {
            Check::ok(NAME, "kilnd can give steps a network of their own")
        }
        (Standing::Root, _) => Check::warning(
            NAME,
            "the kernel has no nftables, so steps of kilnd use the machine's network",
            "modprobe nf_tables, or name CNI plugins",
        ),
        (_, Some(name)) => Check::ok(NAME, format!("{name} connects the steps of kilnd")),
        (_, None) => Check::warning(
            NAME,
            "no pasta and no slirp4netns: steps use the machine's network",
            install(facts, "slirp4netns"),
        ),
    }
}

fn names(facts: &Facts) -> Check {
    match facts.network.name_servers {
        true => Check::ok("name servers", "those of /etc/resolv.conf"),
        false => Check::warning(
            "name servers",
            "/etc/resolv.conf names none that steps in a network of their own can reach; they ask \
             public ones",
            "set [dns] nameservers in the configuration of kilnd",
        ),
    }
}

fn disk(facts: &Facts) -> Check {
    let Some(disk) = &facts.disk else {
        return Check::problem(
            "disk",
            "the state directory cannot be made",
            "choose one with --root",
        );
    };
    let message = format!("{} free for {}", crate::progress::bytes(disk.free), disk.path.display());
    let fix = "kiln prune, or --root on another disk";
    match disk {
        _ if disk.free < LITTLE => Check::problem("disk", message, fix),
        // Some file systems make files as they need them, and say that there are none.
        _ if (1..FEW_FILES).contains(&disk.free_files) => {
            Check::warning("disk", format!("{message}, but only {} files", disk.free_files), fix)
        }
        _ if disk.free < SOON_USED_UP => Check::warning("disk", message, fix),
        _ => Check::ok("disk", message),
    }
}

fn clock(facts: &Facts) -> Check {
    let known = facts.installed.duration_since(facts.now).unwrap_or_default();
    // Nobody had this program before then.
    let early =
        facts.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() < 365 * 50 * DAY;
    if known > DAY || early {
        return Check::problem(
            "clock",
            "it is slow: certificates of registries will seem not to be valid yet",
            "timedatectl set-ntp true",
        );
    }
    Check::ok("clock", "plausible")
}

fn authorities(facts: &Facts) -> Check {
    match facts.authorities {
        0 => Check::warning(
            "certificates",
            "no authority is trusted, so no registry is reached by https",
            install(facts, "ca-certificates"),
        ),
        count => Check::ok("certificates", format!("{count} authorities are trusted")),
    }
}

fn git(facts: &Facts) -> Check {
    match facts.programs.contains(&"git") {
        true => Check::ok("git", "found"),
        false => Check::warning(
            "git",
            "not found: contexts and sources from repositories fail",
            install(facts, "git"),
        ),
    }
}

/// How a platform is run, and whether it was seen to.
fn tried(facts: &Facts, trial: &Trial) -> Check {
    let name = format!("platform {}", trial.platform.format());
    let message = way_text(facts, &trial.way);
    match &trial.failed {
        None if matches!(trial.way, Way::Emulated { .. }) && facts.private_table.is_some() => {
            let why = facts.private_table.as_deref().unwrap_or_default();
            Check::warning(
                &name,
                format!(
                    "{message}, put before each step: a step cannot start other such programs, as {why}"
                ),
                "a kernel from 6.7 on, or entries for the whole machine: systemctl restart systemd-binfmt",
            )
        }
        None => Check::ok(&name, message),
        Some(why) if trial.platform == facts.machine.own => Check::problem(
            &name,
            format!("{message}, but a program failed: {why}"),
            "kiln --debug doctor",
        ),
        Some(why) => Check::warning(
            &name,
            format!("{message}, but a program failed: {why}"),
            install(facts, "qemu-user-static"),
        ),
    }
}

fn way_text(facts: &Facts, way: &Way) -> String {
    match way {
        Way::Own => "by the machine itself".to_owned(),
        Way::Registered { interpreter } => {
            format!("by {}, which the kernel of the machine calls", interpreter.display())
        }
        Way::Emulated { emulator } if facts.private_table.is_none() => {
            format!("by {}, which the kernel calls for builds alone", emulator.display())
        }
        Way::Emulated { emulator } => format!("by {}", emulator.display()),
        Way::Lacking(_) => "not at all".to_owned(),
    }
}

/// Platforms that an emulator would run, and why those that are registered do not count.
fn lacking(facts: &Facts) -> Option<Check> {
    let Machine { own, .. } = &facts.machine;
    let lacking: Vec<String> = ARCHITECTURES
        .iter()
        .map(|it| Platform::new(&own.os, it.name))
        .filter(|it| facts.machine.way(it) == Way::Lacking(Lack::Emulator))
        .map(|it| it.format())
        .collect();
    let loose = facts.machine.registered.iter().find(|entry| {
        entry.enabled && !entry.fixed && ARCHITECTURES.iter().any(|it| entry.matches(it))
    });
    let more = loose.map_or_else(String::new, |entry| {
        format!(
            " ({} of the machine's kernel does not count: without the flag F its interpreter would have to \
             be in every image)",
            entry.name
        )
    });
    (!lacking.is_empty()).then(|| {
        Check::warning(
            "other platforms",
            format!("no emulator for {}{more}", lacking.join(", ")),
            install(facts, "qemu-user-static"),
        )
    })
}

/// How a package is installed here.
fn install(facts: &Facts, package: &str) -> String {
    let managers = [("apt-get", "apt-get install"), ("dnf", "dnf install"), ("apk", "apk add")];
    let found = managers.iter().find(|(program, _)| facts.programs.contains(program));
    format!("{} {package}", found.map_or("install", |(_, command)| command))
}
