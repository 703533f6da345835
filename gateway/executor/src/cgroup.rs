//! Control groups: one per process where the machine gives them, and the limits in it.
//!
//! On version 2 every process gets a group and is forked into it. Version 1 is slow (each hierarchy
//! is a directory and a migration), so there a group is made only if limits or a parent are asked
//! for. Without any usable hierarchy a process without limits simply runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::container::{Usable, device_rules, usable_devices};
use crate::process::{Process, Resources, Security};

/// Between the parent group and a process' own, as BuildKit names it.
const OWN: &str = "buildkit";
/// The controllers of version 1 that limits need.
const LIMITING: &[&str] = &["memory", "cpu", "cpuset", "pids"];

/// What this machine has.
#[derive(Debug)]
pub(crate) enum Hierarchy {
    /// One tree, mounted here.
    Version2(PathBuf),
    /// A tree per set of controllers, and where each is mounted; version 2 has none of them here.
    Version1(Vec<(Vec<String>, PathBuf)>),
    /// None that could be used.
    None,
}

impl Hierarchy {
    /// Looks at what is mounted.
    pub(crate) fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), &|path| {
            let controllers = fs::read_to_string(path.join("cgroup.controllers"));
            // Beside version 1, the second version may be mounted with the few that are left over.
            controllers
                .is_ok_and(|controllers| controllers.split_whitespace().any(|it| it == "memory"))
        })
    }

    fn parse(mountinfo: &str, limits_memory: &dyn Fn(&Path) -> bool) -> Self {
        let mut version1 = Vec::new();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = line.split_once(" - ") else { continue };
            let Some(path) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup2"), _) if limits_memory(&path) => return Self::Version2(path),
                (Some("cgroup2"), _) => version1.push((Vec::new(), path)),
                (Some("cgroup"), Some(options)) => {
                    version1.push((options.split(',').map(str::to_owned).collect(), path));
                }
                _ => {}
            }
        }
        let usable = tree(&version1, "memory").is_some();
        if usable { Self::Version1(version1) } else { Self::None }
    }

    /// Moves the calling process to a group whose members cannot use unusual devices, with all the
    /// children it will have. `false` where that is not possible.
    pub(crate) fn guard_devices(&self) -> bool {
        let Self::Version1(trees) = self else { return false };
        let Some(tree) = tree(trees, "devices") else { return false };
        let group = tree.join(OWN).join("spawner");
        guard(&group, usable_devices()).and_then(|()| set(&group, "cgroup.procs", "0")).is_ok()
    }
}

impl Hierarchy {
    /// Takes the calling process out of the group that [`Self::guard_devices`] made.
    pub(crate) fn release_devices(&self) -> io::Result<()> {
        let Self::Version1(trees) = self else { return Ok(()) };
        let Some(tree) = tree(trees, "devices") else { return Ok(()) };
        fs::write(tree.join("cgroup.procs"), "0")
    }
}

/// Makes a group that may use these devices only.
fn guard(group: &Path, usable: Vec<Usable>) -> io::Result<()> {
    fs::create_dir_all(group)?;
    fs::write(group.join("devices.deny"), "a")?;
    for rule in device_rules(usable) {
        fs::write(group.join("devices.allow"), rule)?;
    }
    Ok(())
}

/// The control group of one process.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its directory in each tree.
    directories: Vec<PathBuf>,
    /// Version 2: the directory, for forking into it.
    descriptor: Option<OwnedFd>,
}

impl Group {
    /// Makes the group of `process`, with its limits and the devices that it was given; `None` if it needs
    /// none.
    pub(crate) fn create(
        hierarchy: &Hierarchy,
        process: &Process,
        given: Vec<Usable>,
    ) -> io::Result<Option<Self>> {
        let limited = !process.resources.is_empty();
        let needed = limited && !process.resources.best_effort;
        let special = process.cgroup_parent.is_some() || !given.is_empty();
        // An insecure process sees its groups and may make others below them.
        let shown = process.security == Security::Insecure;
        let (asked, needed) = (limited || special || shown, needed || special);
        let path = group_path(process)?;
        let group = match hierarchy {
            Hierarchy::Version2(mount) => Self::version2(mount, &path, &process.resources),
            Hierarchy::Version1(trees) if asked => Self::version1(trees, &path, process, given),
            Hierarchy::Version1(_) => return Ok(None),
            Hierarchy::None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this machine has no control groups that the daemon may use",
            )),
        };
        match group {
            Ok(group) => Ok(Some(group)),
            Err(error) if needed => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// A group for nothing but the devices that `process` was given, on version 1.
    pub(crate) fn of_devices(
        hierarchy: &Hierarchy,
        process: &Process,
        given: Vec<Usable>,
    ) -> io::Result<Option<Self>> {
        match hierarchy {
            Hierarchy::Version1(trees) => Self::devices_in(trees, process, given),
            Hierarchy::Version2(_) | Hierarchy::None => Ok(None),
        }
    }

    fn devices_in(
        trees: &[(Vec<String>, PathBuf)],
        process: &Process,
        given: Vec<Usable>,
    ) -> io::Result<Option<Self>> {
        let Some(mount) = tree(trees, "devices").filter(|_| !given.is_empty()) else {
            return Ok(None);
        };
        let group = Self { directories: vec![mount.join(group_path(process)?)], descriptor: None };
        match guard(&group.directories[0], usable_devices().into_iter().chain(given).collect()) {
            Ok(()) => Ok(Some(group)),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    /// The group that an OCI runtime makes for `process`, to be removed if it is left behind.
    pub(crate) fn of_runtime(hierarchy: &Hierarchy, process: &Process) -> io::Result<Option<Self>> {
        let path = group_path(process)?;
        let directories = match hierarchy {
            Hierarchy::Version2(mount) => vec![mount.join(path)],
            Hierarchy::Version1(trees) => trees.iter().map(|(_, tree)| tree.join(&path)).collect(),
            Hierarchy::None => return Ok(None),
        };
        Ok(Some(Self { directories, descriptor: None }))
    }

    fn version2(mount: &Path, path: &Path, resources: &Resources) -> io::Result<Self> {
        let directory = mount.join(path);
        fs::create_dir_all(&directory)?;
        let group = Self { directories: vec![directory.clone()], descriptor: None };
        let mut above = mount.to_owned();
        for component in path.components() {
            for controller in ["+cpu", "+cpuset", "+memory", "+pids"] {
                // Where one cannot be had, the limit that needs it fails below.
                fs::write(above.join("cgroup.subtree_control"), controller).ok();
            }
            above.push(component);
        }
        let limited = version2_settings(resources)
            .into_iter()
            .try_for_each(|(file, value)| set(&directory, file, &value));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = limited.and_then(|()| Ok(rustix::fs::open(&directory, flags, Mode::empty())?));
        match opened {
            Ok(descriptor) => Ok(Self { descriptor: Some(descriptor), ..group }),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    fn version1(
        trees: &[(Vec<String>, PathBuf)],
        path: &Path,
        process: &Process,
        given: Vec<Usable>,
    ) -> io::Result<Self> {
        let everywhere = process.cgroup_parent.is_some() || process.security == Security::Insecure;
        let limited = !process.resources.is_empty();
        // Other devices than these are guarded by the spawner's own group.
        let mut group = Self::devices_in(trees, process, given)?
            .unwrap_or(Self { directories: Vec::new(), descriptor: None });
        for (controllers, mount) in trees {
            let limiting = controllers.iter().any(|name| LIMITING.contains(&name.as_str()));
            let devices = controllers.iter().any(|name| name == "devices");
            if (limiting && limited || everywhere) && !devices {
                if let Err(error) = version1_directory(mount, path, controllers) {
                    group.remove();
                    return Err(error);
                }
                group.directories.push(mount.join(path));
            }
        }
        for (controller, file, value) in version1_settings(&process.resources) {
            let Some(mount) = tree(trees, controller) else { continue };
            if let Err(error) = set(&mount.join(path), file, &value) {
                group.remove();
                return Err(error);
            }
        }
        Ok(group)
    }

    /// The directory to fork into, on version 2.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(|fd| fd.as_fd())
    }

    /// Moves the calling process in, on version 1.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if self.descriptor.is_some() {
            return Ok(());
        }
        self.directories.iter().try_for_each(|group| set(group, "cgroup.procs", "0"))
    }

    /// Whether a process of the group was killed for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let killed = |text: &str| {
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
        };
        self.directories.iter().any(|group| {
            ["memory.events", "memory.oom_control"]
                .iter()
                .any(|file| fs::read_to_string(group.join(file)).is_ok_and(|text| killed(&text)))
        })
    }

    /// Removes the group, with those that its processes made below it; they have ended.
    pub(crate) fn remove(self) {
        for directory in self.directories.iter().flat_map(|directory| children_first(directory)) {
            for _ in 0..5 {
                match fs::remove_dir(&directory) {
                    // The kernel may still be letting go of the last process.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        sleep(Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Where the groups of `process` are on version 1: what each tree is called, and the directory in it.
pub(crate) fn version1_groups(process: &Process) -> io::Result<Vec<(OsString, PathBuf)>> {
    let Hierarchy::Version1(trees) = Hierarchy::detect() else { return Ok(Vec::new()) };
    let path = group_path(process)?;
    let groups = trees.into_iter().filter_map(|(_, mount)| {
        let group = mount.join(&path);
        Some((mount.file_name()?.to_owned(), group)).filter(|(_, group)| group.is_dir())
    });
    Ok(groups.collect())
}

/// How many groups below that of a process are removed with it.
const MOST_CHILDREN: usize = 10_000;

/// A group and those below it, in the order in which they can be removed.
fn children_first(group: &Path) -> Vec<PathBuf> {
    let mut all = vec![group.to_owned()];
    let mut at = 0;
    while at < all.len() && all.len() < MOST_CHILDREN {
        let entries = fs::read_dir(&all[at]).into_iter().flatten().flatten();
        let is_group = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        all.extend(entries.filter(is_group).map(|entry| entry.path()));
        at += 1;
    }
    all.reverse();
    all
}

/// `<parent>/buildkit/<id>`, relative to a tree.
fn group_path(process: &Process) -> io::Result<PathBuf> {
    let parent = process.cgroup_parent.as_deref().unwrap_or_default().trim_matches('/');
    let id = process.id.as_str();
    let plain =
        |path: &str| Path::new(path).components().all(|it| matches!(it, Component::Normal(_)));
    if !plain(parent) || id.contains('/') || !plain(id) {
        let message = "a control group is named without `..`, and an id without slashes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(Path::new(parent).join(OWN).join(id))
}

/// Where the tree with `controller` is mounted.
fn tree<'a>(trees: &'a [(Vec<String>, PathBuf)], controller: &str) -> Option<&'a Path> {
    trees
        .iter()
        .find(|(controllers, _)| controllers.iter().any(|name| name == controller))
        .map(|(_, mount)| mount.as_path())
}

fn version1_directory(mount: &Path, path: &Path, controllers: &[String]) -> io::Result<()> {
    let cpuset = controllers.iter().any(|name| name == "cpuset");
    let mut directory = mount.to_owned();
    for component in path.components() {
        let above = directory.clone();
        directory.push(component);
        fs::create_dir_all(&directory)?;
        // A new group of processors starts empty and takes nobody until it is filled.
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| cpuset) {
            if fs::read_to_string(directory.join(file))?.trim().is_empty() {
                fs::write(directory.join(file), fs::read_to_string(above.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

fn set(group: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(group.join(file), value).map_err(|error| {
        let message = crate::spawner::describe(&error);
        io::Error::new(error.kind(), format!("set {file} to {value}: {message}"))
    })
}

fn version1_settings(resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let text = |value: &dyn ToString| value.to_string();
    let settings = [
        ("memory", "memory.limit_in_bytes", resources.memory.as_ref().map(|it| text(it))),
        (
            "memory",
            "memory.memsw.limit_in_bytes",
            resources.memory_swap.as_ref().map(|it| text(it)),
        ),
        ("cpu", "cpu.shares", resources.cpu_shares.as_ref().map(|it| text(it))),
        ("cpu", "cpu.cfs_period_us", resources.cpu_period.as_ref().map(|it| text(it))),
        ("cpu", "cpu.cfs_quota_us", resources.cpu_quota.as_ref().map(|it| text(it))),
        ("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone()),
        ("cpuset", "cpuset.mems", resources.cpuset_mems.clone()),
        ("pids", "pids.max", resources.pids.as_ref().map(|it| text(it))),
    ];
    settings
        .into_iter()
        .filter_map(|(controller, file, value)| Some((controller, file, value?)))
        .collect()
}

fn version2_settings(resources: &Resources) -> Vec<(&'static str, String)> {
    let or_max = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let swap = resources.memory_swap.map(|both| match resources.memory {
        // Version 2 counts swap alone, where the request counts memory and swap together.
        Some(memory) if both >= 0 => or_max((both - memory).max(0)),
        _ => or_max(both),
    });
    let cpu = (resources.cpu_quota.is_some() || resources.cpu_period.is_some()).then(|| {
        let period = resources.cpu_period.unwrap_or(100_000);
        format!("{} {period}", or_max(resources.cpu_quota.unwrap_or(-1)))
    });
    let settings = [
        ("memory.max", resources.memory.map(or_max)),
        ("memory.swap.max", swap),
        ("cpu.max", cpu),
        ("cpu.weight", resources.cpu_shares.map(|shares| weight(shares).to_string())),
        ("cpuset.cpus", resources.cpuset_cpus.clone()),
        ("cpuset.mems", resources.cpuset_mems.clone()),
        ("pids.max", resources.pids.map(|pids| pids.to_string())),
    ];
    settings.into_iter().filter_map(|(file, value)| Some((file, value?))).collect()
}

/// Shares (2 to 262144) as a weight (1 to 10000), both linear.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Rootfs;

    fn process(id: &str, parent: Option<&str>) -> Process {
        let root = Rootfs::Bind { source: "/".into(), readonly: true };
        Process { cgroup_parent: parent.map(str::to_owned), ..Process::new(id, root, &["true"]) }
    }

    #[test]
    fn a_group_lies_below_its_parent() {
        let path = |id, parent| group_path(&process(id, parent)).ok();
        assert_eq!(path("a", None), Some("buildkit/a".into()));
        assert_eq!(path("a", Some("/x/y")), Some("x/y/buildkit/a".into()));
        assert_eq!(path("a", Some("../y")), None);
        assert_eq!(path("../a", None), None);
    }

    #[test]
    fn groups_below_a_group_are_removed_before_it() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("group");
        fs::create_dir_all(group.join("a/b")).unwrap();
        fs::create_dir(group.join("c")).unwrap();
        Group { directories: vec![group.clone()], descriptor: None }.remove();
        assert!(!group.exists());
    }

    #[test]
    fn a_second_version_without_the_memory_controller_is_passed_over() {
        let text = "24 19 0:21 / /sys/fs/cgroup/memory rw shared:4 - cgroup cgroup rw,memory\n\
                    25 19 0:22 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n";
        let found = Hierarchy::parse(text, &|_| false);
        assert!(matches!(&found, Hierarchy::Version1(trees) if trees.len() == 2), "{found:?}");
        let found = Hierarchy::parse(text, &|_| true);
        assert!(matches!(found, Hierarchy::Version2(_)), "{found:?}");
    }

    #[test]
    fn limits_are_translated_to_the_second_version() {
        let resources = Resources {
            memory: Some(100),
            memory_swap: Some(150),
            cpu_quota: Some(5000),
            cpu_shares: Some(1024),
            ..Resources::default()
        };
        let settings = version2_settings(&resources);
        let expected = [
            ("memory.max", "100"),
            ("memory.swap.max", "50"),
            ("cpu.max", "5000 100000"),
            ("cpu.weight", "39"),
        ];
        let expected: Vec<_> = expected.iter().map(|(file, v)| (*file, (*v).to_owned())).collect();
        assert_eq!(settings, expected);
    }
}
