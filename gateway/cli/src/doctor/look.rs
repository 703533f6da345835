//! Looks at the machine. What cannot be read is as if it were not there.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use kiln_emulation::{ARCHITECTURES, Architecture, Machine, SearchPath, Way};
use kiln_executor::{
    Emulation, Executor as _, Native, Process, Rootfs, Spawner, Standing, Stdio, unique_id,
};
use kiln_oci::Platform;

use super::facts::{Disk, Facts, Groups, Ids, NamespaceLimits, Network, Trial};
use crate::endpoint::Embedded;
use crate::environment::Environment;

/// Programs that are looked for.
const PROGRAMS: &[&str] =
    &["git", "pasta", "slirp4netns", "runc", "crun", "apt-get", "dnf", "apk", "newuidmap"];

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Finds out what there is, and tries what can be tried.
///
/// # Errors
///
/// If there is no place for what is tried.
pub(crate) async fn look(embedded: &Embedded, environment: &Environment) -> anyhow::Result<Facts> {
    let path = environment.get("PATH").unwrap_or_default();
    let machine = Machine::inspect(&SearchPath::new(Vec::new(), path));
    let privileges = &embedded.privileges;
    let containers = privileges.refuses_containers();
    let disk = disk(&embedded.root);
    let (private_table, tried) = match (&containers, &disk) {
        (None, Some(_)) => try_platforms(&machine, &embedded.root).await?,
        _ => (None, Vec::new()),
    };
    let uid = outer_uid();
    let user = user_name(uid).unwrap_or_else(|| uid.to_string());
    Ok(Facts {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        standing: privileges.standing,
        containers,
        overlay: privileges.refuses_overlays().map(str::to_owned),
        namespaces: namespace_limits(),
        ids: Ids { mapped: mapped(), granted: is_granted(uid, &user) },
        groups: groups(privileges.standing),
        network: Network { name_servers: name_servers(), filter: has_filter() },
        disk,
        now: SystemTime::now(),
        installed: installed(),
        authorities: rustls_native_certs::load_native_certs().certs.len(),
        programs: programs(path),
        machine,
        private_table,
        tried,
        user,
    })
}

/// Runs the smallest program of every platform as a step would, in a root that has nothing else.
async fn try_platforms(
    machine: &Machine,
    root: &Path,
) -> anyhow::Result<(Option<String>, Vec<Trial>)> {
    let made = !root.exists();
    // As closed as the daemon makes it.
    let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    make.with_context(|| format!("failed to make {}", root.display()))?;
    let place = tempfile::Builder::new().prefix("doctor-").tempdir_in(root);
    let place = place.with_context(|| format!("failed to write to {}", root.display()))?;
    let tried = try_in(machine, place.path()).await;
    drop(place);
    if made {
        // Whoever has begun to use it meanwhile keeps it.
        fs::remove_dir(root).ok();
    }
    tried
}

async fn try_in(machine: &Machine, place: &Path) -> anyhow::Result<(Option<String>, Vec<Trial>)> {
    let spawner = Spawner::start(&place.join("scratch"))?;
    let registrations = machine.registrations();
    let refused = match registrations.is_empty() {
        true => None,
        false => spawner.prepare_emulation(&registrations).await.err(),
    };
    let refused = refused.map(|error| error.to_string());
    let executor = Native::new(spawner);
    let mut tried = Vec::new();
    for architecture in ARCHITECTURES {
        let platform = Platform::new(&machine.own.os, architecture.name);
        let way = machine.way(&platform);
        let emulation = match &way {
            Way::Lacking(_) => continue,
            Way::Own | Way::Registered { .. } => None,
            Way::Emulated { emulator } if refused.is_some() => {
                Some(Emulation::Explicit(emulator.clone()))
            }
            Way::Emulated { .. } => Some(Emulation::Private(registrations.clone())),
        };
        let failed = run(&executor, place, architecture, emulation).await.err();
        tried.push(Trial { platform, way, failed: failed.map(|error| format!("{error:#}")) });
    }
    tried.sort_by_key(|trial| trial.way != Way::Own);
    Ok((refused, tried))
}

async fn run(
    executor: &Native,
    place: &Path,
    architecture: &Architecture,
    emulation: Option<Emulation>,
) -> anyhow::Result<()> {
    let root = place.join(architecture.name);
    fs::create_dir(&root)?;
    let program = root.join("program");
    fs::write(&program, architecture.program())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let rootfs = Rootfs::Bind { source: root, readonly: false };
    let mut process = Process::new(unique_id("doctor"), rootfs, &["/program"]);
    process.emulation = emulation;
    process.resources.best_effort = true;
    let status = executor.start(process, Stdio::null()?).await?.wait().await?;
    anyhow::ensure!(status.code == 0, "exit code {}", status.code);
    Ok(())
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn namespace_limits() -> NamespaceLimits {
    NamespaceLimits {
        most: number("/proc/sys/user/max_user_namespaces"),
        switched_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
        restricted: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
    }
}

/// Who runs this, also from within a user namespace.
fn outer_uid() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = text("/proc/self/uid_map");
    let numbers = map.lines().map(|line| {
        line.split_whitespace().filter_map(|number| number.parse::<u32>().ok()).collect::<Vec<_>>()
    });
    let mut found = numbers.filter_map(|numbers| match numbers[..] {
        [inside, outside, count] => {
            own.checked_sub(inside).filter(|it| *it < count).map(|it| outside + it)
        }
        _ => None,
    });
    found.next().unwrap_or(own)
}

/// How many ids there are.
fn mapped() -> u64 {
    let map = text("/proc/self/uid_map");
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum()
}

fn user_name(uid: u32) -> Option<String> {
    text("/etc/passwd").lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

fn is_granted(uid: u32, user: &str) -> bool {
    let number = uid.to_string();
    ["/etc/subuid", "/etc/subgid"].iter().all(|path| {
        let owner =
            |line: &str| line.split(':').next().is_some_and(|it| it == user || it == number);
        text(path).lines().any(owner)
    })
}

fn groups(standing: Standing) -> Groups {
    let own = text("/proc/self/cgroup");
    let writable = |path: PathBuf| {
        standing == Standing::Root || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    match fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")) {
        Ok(controllers) => {
            let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
            Groups::Version2 {
                controllers: controllers.split_whitespace().map(str::to_owned).collect(),
                writable: writable(Path::new(CGROUPS).join(path)),
            }
        }
        Err(_) => {
            let memory = Path::new(CGROUPS).join("memory");
            match memory.exists() {
                true => Groups::Version1 { writable: writable(memory) },
                false => Groups::None,
            }
        }
    }
}

/// Whether there is a server that is not on the loopback, which steps do not share.
fn name_servers() -> bool {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    files.iter().any(|file| {
        text(file).lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("nameserver")
                && words.next().is_some_and(|it| !it.starts_with("127.") && it != "::1")
        })
    })
}

/// Whether the kernel has nftables, or would load them.
fn has_filter() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = Path::new("/lib/modules").join(release);
    let among = |list: &str| text(modules.join(list)).contains("/nf_tables.ko");
    text("/proc/kallsyms").contains(" nft_") || among("modules.dep") || among("modules.builtin")
}

fn disk(root: &Path) -> Option<Disk> {
    let existing = root.ancestors().find(|path| path.exists())?;
    rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).ok()?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(Disk { path: root.to_owned(), free, free_files: stat.f_favail })
}

fn installed() -> SystemTime {
    let program = std::env::current_exe().and_then(fs::metadata);
    program.and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn programs(path: &str) -> Vec<&'static str> {
    let places: Vec<PathBuf> =
        std::env::split_paths(path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect();
    let is_there = |program: &&str| places.iter().any(|place| place.join(program).is_file());
    PROGRAMS.iter().copied().filter(is_there).collect()
}
