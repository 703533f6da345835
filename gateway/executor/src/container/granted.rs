//! Devices of the host that a process was given: their nodes in `/dev`, and that they may be used.
//!
//! A node is made with the number that the device has on the host, or shown as it is there where none can
//! be made. Everything else about devices is in [`super::devices`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, Uid, major, makedev, minor};
use rustix::io::Errno;

use super::devices::{DeviceGuard, Usable};
use super::overlay::{attach, bind};
use super::stubs::open_inside;
use super::{Context, Identity};
use crate::process::{DeviceNode, Process};
use crate::spawner::{Failure, Step};

/// A device as the host has it.
#[derive(Debug, Clone)]
pub(crate) struct HostDevice<'a> {
    pub(crate) node: &'a DeviceNode,
    pub(crate) block: bool,
    pub(crate) number: (u32, u32),
}

/// The devices that a process was given, with what only the host knows of them.
pub(crate) fn host_devices(process: &Process) -> Result<Vec<HostDevice<'_>>, Failure> {
    process.devices.iter().map(host_device).collect()
}

fn host_device(node: &DeviceNode) -> Result<HostDevice<'_>, Failure> {
    if let (Some(block), Some(number)) = (node.block, node.number) {
        return Ok(HostDevice { node, block, number });
    }
    let step = || format!("find device {}", node.host_path.display());
    let stat = rustix::fs::stat(&node.host_path).step(step)?;
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return Err(Failure::Setup { step: step(), message: "it is no device".into() }),
    };
    if node.block.is_some_and(|wanted| wanted != block) {
        let message = "it is of another kind than its specification says".into();
        return Err(Failure::Setup { step: step(), message });
    }
    let number = node.number.unwrap_or((major(stat.st_rdev), minor(stat.st_rdev)));
    Ok(HostDevice { node, block, number })
}

/// What a process may use beside what every process may.
pub(crate) fn usable(process: &Process) -> Result<Vec<Usable>, Failure> {
    let usable = |device: HostDevice<'_>| Usable {
        block: device.block,
        major: device.number.0,
        minor: Some(device.number.1),
        access: device.node.access.clone(),
    };
    Ok(host_devices(process)?.into_iter().map(usable).collect())
}

/// Makes the nodes in the `/dev` of `root`.
pub(crate) fn make(
    root: BorrowedFd<'_>,
    process: &Process,
    identity: &Identity,
    context: &Context<'_>,
) -> Result<(), Failure> {
    for device in host_devices(process)? {
        let made = make_one(root, &device, identity, context);
        made.step(|| format!("make device {}", device.node.path.display()))?;
    }
    Ok(())
}

fn make_one(
    root: BorrowedFd<'_>,
    device: &HostDevice<'_>,
    identity: &Identity,
    context: &Context<'_>,
) -> io::Result<()> {
    let node = device.node;
    let name = node.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = parent(root, &node.path)?;
    // What every process has is not put in the place of itself.
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let number: Dev = makedev(device.number.0, device.number.1);
    let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let made = match context.devices {
        DeviceGuard::UserNamespace => false,
        _ => {
            // The mask of this process is empty.
            rustix::fs::mknodat(&directory, name, kind, Mode::from_raw_mode(node.mode), number)?;
            true
        }
    };
    if !made {
        let host = rustix::fs::openat(CWD, &node.host_path, flags, Mode::empty())?;
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&directory, name, create, Mode::from_raw_mode(node.mode))?);
        return attach(
            bind(host.as_fd())?,
            rustix::fs::openat(&directory, name, flags, Mode::empty())?,
        );
    }
    let owner = Uid::from_raw(node.uid.unwrap_or(identity.uid));
    let group = Gid::from_raw(node.gid.unwrap_or(identity.gid));
    rustix::fs::chownat(&directory, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    if context.devices == DeviceGuard::Mounts {
        // The mount around it is dead for devices.
        let place = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
        attach(bind(place.as_fd())?, &place)?;
    }
    Ok(())
}

/// The directory of a node, made if it is missing; the file system around it goes with the process.
fn parent(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = open_inside(root, Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY)?;
    let below = path.strip_prefix("/dev").map_err(|_| io::ErrorKind::InvalidInput)?;
    for part in below.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
    }
    Ok(directory)
}
