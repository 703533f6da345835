//! `/proc`, `/dev`, `/sys` and the control groups, and what of them a sandbox must not touch.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::overlay::{attach, bind, directory, filesystem};
use super::stubs::{Kind, Stubs, open_inside};
use super::{Context, devices};
use crate::cgroup::version1_groups;
use crate::process::{Process, Security};
use crate::spawner::{Failure, Step};
use crate::sys;

/// A sandbox sees nothing in these.
pub(crate) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// A sandbox can only read these.
pub(crate) const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the kernel calls the file system of control groups, version 2.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts the file systems of the kernel.
pub(crate) fn mount(
    stubs: &mut Stubs<'_>,
    process: &Process,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let proc = filesystem("proc", &[], closed()).step(|| "make /proc".into())?;
    attach(proc, stubs.ensure(Path::new("/proc"), Kind::Directory)?)
        .step(|| "mount /proc".into())?;
    devices::mount(stubs, process, context)?;
    let place = stubs.ensure(Path::new("/sys"), Kind::Directory)?;
    let sys = sysfs(process, context).step(|| "make /sys".into())?;
    attach(sys, place).step(|| "mount /sys".into())?;
    mount_cgroup(stubs, process).step(|| "mount /sys/fs/cgroup".into())
}

fn sysfs(process: &Process, context: &Context<'_>) -> io::Result<OwnedFd> {
    let attributes = closed() | readonly_unless_insecure(process);
    match filesystem("sysfs", &[], attributes) {
        // Only the owner of the network namespace may mount it; the host's is shown instead.
        Err(error) if context.user_namespace && error.raw_os_error() == Some(libc::EPERM) => {
            let tree = bind(directory(Path::new("/sys"))?.as_fd())?;
            sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, true)?;
            Ok(tree)
        }
        result => result,
    }
}

/// Shows the process its own control group as the top, where version 2 is mounted. Where version 1 is,
/// only an insecure process has groups of its own to see.
fn mount_cgroup(stubs: &Stubs<'_>, process: &Process) -> io::Result<()> {
    if !has_version2() {
        return match process.security {
            Security::Insecure => mount_version1(stubs, process),
            Security::Sandbox | Security::Restricted => Ok(()),
        };
    }
    sys::unshare(libc::CLONE_NEWCGROUP)?;
    let attributes = closed() | readonly_unless_insecure(process);
    let Ok(tree) = filesystem("cgroup2", &[], attributes) else { return Ok(()) };
    attach(tree, open_inside(stubs.root(), Path::new(CGROUPS), OFlags::PATH)?)
}

/// Shows the process its own group in each tree of version 1.
fn mount_version1(stubs: &Stubs<'_>, process: &Process) -> io::Result<()> {
    let groups = version1_groups(process)?;
    if groups.is_empty() {
        return Ok(());
    }
    let names = filesystem("tmpfs", &[("mode", "755")], closed())?;
    attach(&names, open_inside(stubs.root(), Path::new(CGROUPS), OFlags::PATH)?)?;
    for (name, group) in groups {
        rustix::fs::mkdirat(&names, &name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&names, &name, flags, Mode::empty())?;
        attach(bind(directory(&group)?.as_fd())?, place)?;
    }
    Ok(())
}

/// Whether the machine has control groups of version 2 only; each container then has a namespace.
pub(crate) fn has_version2() -> bool {
    rustix::fs::statfs(CGROUPS).is_ok_and(|stat| stat.f_type as u64 == CGROUP2_MAGIC)
}

/// Hides and write-protects what a sandbox must not touch.
pub(crate) fn mask(root: &OwnedFd, process: &Process) -> Result<(), Failure> {
    if process.security == Security::Insecure {
        return Ok(());
    }
    let empty = filesystem("tmpfs", &[("mode", "555")], MountAttrFlags::MOUNT_ATTR_RDONLY)
        .step(|| "make an empty directory".into())?;
    for path in READONLY {
        protect(root, path).step(|| format!("write-protect {path}"))?;
    }
    let mut masks = Masks { directory: empty, attached: false };
    for path in MASKED {
        masks.hide(root, path).step(|| format!("hide {path}"))?;
    }
    Ok(())
}

/// What is put over hidden things. Copies are taken from an attached mount only, as older kernels
/// do not clone a detached one.
#[derive(Debug)]
struct Masks {
    directory: OwnedFd,
    attached: bool,
}

impl Masks {
    fn hide(&mut self, root: &OwnedFd, path: &str) -> io::Result<()> {
        let Some(place) = existing(root, path)? else { return Ok(()) };
        if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::Directory {
            let null = open_inside(root, Path::new("/dev/null"), OFlags::PATH)?;
            return attach(bind(null.as_fd())?, place);
        }
        if std::mem::replace(&mut self.attached, true) {
            attach(bind(self.directory.as_fd())?, place)
        } else {
            attach(&self.directory, place)
        }
    }
}

fn protect(root: &OwnedFd, path: &str) -> io::Result<()> {
    let Some(place) = existing(root, path)? else { return Ok(()) };
    let tree = bind(place.as_fd())?;
    sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, true)?;
    attach(tree, place)
}

fn existing(root: &OwnedFd, path: &str) -> io::Result<Option<OwnedFd>> {
    match open_inside(root, Path::new(path), OFlags::PATH) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn readonly_unless_insecure(process: &Process) -> MountAttrFlags {
    match process.security {
        Security::Sandbox | Security::Restricted => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Security::Insecure => MountAttrFlags::empty(),
    }
}

/// For file systems that hold neither programs nor devices.
pub(crate) fn closed() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}
