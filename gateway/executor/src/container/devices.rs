//! `/dev` of a container, and how other device nodes are kept dead.
//!
//! A sandbox may make device nodes (image builds do), but must not reach the host's disks with them.
//! Either the kernel's device group refuses, which the spawner sets up once, or every mount of the
//! container but these few nodes is `nodev`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, Mode, OFlags, makedev};
use rustix::mount::MountAttrFlags;

use super::overlay::{attach, bind, filesystem};
use super::stubs::{Kind, Stubs};
use super::system::closed;
use super::{Context, mounts};
use crate::process::{Process, Security};
use crate::spawner::{Failure, Step};
use crate::sys;

/// Every container has these: name, major, minor.
pub(crate) const COMMON: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// An unconfined container gets these too, where the host has them.
const UNCONFINED: &[&str] =
    &["kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control", "loop0", "loop1", "loop2", "loop3"];

/// Links every `/dev` has.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Who keeps the device nodes dead that a container makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceGuard {
    /// A control group: the spawner's in version 1, the container's in version 2.
    ControlGroup,
    /// `nodev` on every mount.
    Mounts,
    /// The kernel: in a user namespace no node can be made.
    UserNamespace,
}

/// Mounts `/dev` with its nodes, links, terminals, shared memory and message queues.
pub(crate) fn mount(
    stubs: &mut Stubs<'_>,
    process: &Process,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let options = [("mode", "755"), ("size", "65536k")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let tree = filesystem("tmpfs", &options, attributes).step(|| "make /dev".into())?;
    attach(&tree, stubs.ensure(Path::new("/dev"), Kind::Directory)?)
        .step(|| "mount /dev".into())?;
    populate(&tree, process, context).step(|| "fill /dev".into())?;
    mount_below(&tree, "pts", terminals)?;
    mount_below(&tree, "shm", shared_memory)?;
    mount_below(&tree, "mqueue", message_queues).or_else(unless_refused)
}

fn populate(tree: &OwnedFd, process: &Process, context: &Context<'_>) -> io::Result<()> {
    for (name, major, minor) in COMMON {
        node(tree, name, makedev(*major, *minor), context)?;
    }
    if process.security == Security::Insecure {
        add_unconfined(tree, context)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, tree, *name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(tree, name, Mode::from_raw_mode(0o755))?;
    }
    if mounts::keeps_devices_dead(process, context) {
        // From here on only the nodes that were bound onto themselves are alive.
        sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_NODEV, false)?;
    }
    Ok(())
}

/// Makes one device, alive whatever becomes of the mount around it.
fn node(tree: &OwnedFd, name: &str, device: Dev, context: &Context<'_>) -> io::Result<()> {
    let made = match context.devices {
        DeviceGuard::UserNamespace => false,
        _ => {
            let mode = Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(tree, name, FileType::CharacterDevice, mode, device).is_ok()
        }
    };
    if made && context.devices == DeviceGuard::ControlGroup {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if made {
        let place = rustix::fs::openat(tree, name, flags, Mode::empty())?;
        return attach(bind(place.as_fd())?, &place);
    }
    let host = rustix::fs::openat(CWD, Path::new("/dev").join(name), flags, Mode::empty())?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::openat(tree, name, create, Mode::from_raw_mode(0o666))?);
    attach(bind(host.as_fd())?, rustix::fs::openat(tree, name, flags, Mode::empty())?)
}

fn add_unconfined(tree: &OwnedFd, context: &Context<'_>) -> io::Result<()> {
    rustix::fs::mkdirat(tree, "net", Mode::from_raw_mode(0o755))?;
    for name in UNCONFINED {
        let Ok(stat) = rustix::fs::stat(Path::new("/dev").join(name)) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if context.user_namespace || kind == FileType::CharacterDevice {
            node(tree, name, stat.st_rdev, context)?;
        } else {
            let mode = Mode::from_raw_mode(0o660);
            rustix::fs::mknodat(tree, *name, kind, mode, stat.st_rdev)?;
        }
    }
    Ok(())
}

fn mount_below(
    tree: &OwnedFd,
    name: &str,
    make: impl FnOnce() -> io::Result<OwnedFd>,
) -> Result<(), Failure> {
    let step = || format!("mount /dev/{name}");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(tree, name, flags, Mode::empty()).step(step)?;
    attach(make().step(step)?, place).step(step)
}

fn terminals() -> io::Result<OwnedFd> {
    let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mut grouped = options.to_vec();
    grouped.push(("gid", "5"));
    // A user namespace may not know the group of terminals.
    filesystem("devpts", &grouped, attributes)
        .or_else(|_| filesystem("devpts", &options, attributes))
}

fn shared_memory() -> io::Result<OwnedFd> {
    filesystem("tmpfs", &[("mode", "1777"), ("size", "65536k")], closed())
}

fn message_queues() -> io::Result<OwnedFd> {
    filesystem("mqueue", &[], closed())
}

/// Does without a file system that this kernel or user namespace does not give.
fn unless_refused(failure: Failure) -> Result<(), Failure> {
    tracing::debug!(?failure, "a file system is left out");
    Ok(())
}

/// A device that may be used, or all minor numbers of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usable {
    /// It is a device of blocks, not of characters.
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: Option<u32>,
    /// How, of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// Devices that every sandbox may use.
pub(crate) fn usable() -> Vec<Usable> {
    let common = COMMON.iter().map(|(_, major, minor)| (*major, Some(*minor)));
    // The terminal multiplexer and its terminals.
    let all = common.chain([(5, Some(2)), (136, None)]);
    let usable = |(major, minor)| Usable { block: false, major, minor, access: "rwm".to_owned() };
    all.map(usable).collect()
}

/// Devices that may be used as rules of a device control group of version 1; any node may be made.
pub(crate) fn device_rules(usable: Vec<Usable>) -> impl Iterator<Item = String> {
    let made = ["c *:* m".to_owned(), "b *:* m".to_owned()];
    made.into_iter().chain(usable.into_iter().map(|device| {
        let minor = device.minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
        let kind = if device.block { 'b' } else { 'c' };
        format!("{kind} {}:{minor} {}", device.major, device.access)
    }))
}
