//! The root and the mounts that a process asked for.
//!
//! Everything is first built under the scratch mount, in [`staged`] directories, and then attached
//! at a place that [`Stubs`] found inside the root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::overlay::{Layers, attach, bind, directory, filesystem, named};
use super::stubs::{Kind, Stubs, open_inside};
use super::{Context, DeviceGuard};
use crate::network_files;
use crate::process::{Mount, MountSource, Network, Process, Rootfs, Security};
use crate::spawner::{Failure, Step};
use crate::sys;

/// A new directory `name` below `scratch`.
pub(crate) fn staged(scratch: &Path, name: &str) -> io::Result<PathBuf> {
    let path = scratch.join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

/// Mounts the scratch space and the root on it; returns the root, attached and writable.
pub(crate) fn mount_root(process: &Process, context: &Context<'_>) -> Result<OwnedFd, Failure> {
    mount_scratch(context.scratch)
        .step(|| format!("mount scratch space on {}", context.scratch.display()))?;
    let target = staged(context.scratch, "root").step(|| "make the root's place".into())?;
    let root = root_on(&process.rootfs, &target, context).step(|| "mount the root".into())?;
    if keeps_devices_dead(process, context) {
        sys::mount_setattr(root.as_fd(), libc::MOUNT_ATTR_NODEV, true)
            .step(|| "disable device nodes".into())?;
    }
    Ok(root)
}

/// Whether device nodes outside `/dev` must be disabled mount by mount.
pub(crate) fn keeps_devices_dead(process: &Process, context: &Context<'_>) -> bool {
    process.security != Security::Insecure && context.devices == DeviceGuard::Mounts
}

fn mount_scratch(scratch: &Path) -> io::Result<()> {
    let place = directory(scratch)?;
    attach(filesystem("tmpfs", &[("mode", "700")], MountAttrFlags::empty())?, &place)
}

fn root_on(rootfs: &Rootfs, target: &Path, context: &Context<'_>) -> io::Result<OwnedFd> {
    match rootfs {
        Rootfs::Overlay { lowers, upper, work } => {
            Layers::open(lowers, Some((upper, work)))?.mount(target, context.user_namespace)?;
        }
        // Mount points are made in a memory layer, so that the layers themselves stay as they are.
        Rootfs::OverlayReadonly { lowers } => mount_under_memory(lowers, target, context)?,
        Rootfs::Memory => attach(tmpfs(None, 0o755)?, &directory(target)?)?,
        Rootfs::Bind { source, readonly: true } => {
            mount_under_memory(std::slice::from_ref(source), target, context)?;
        }
        Rootfs::Bind { source, readonly: false } => {
            attach(bind(directory(source)?.as_fd())?, &directory(target)?)?;
        }
    }
    directory(target)
}

fn mount_under_memory(lowers: &[PathBuf], target: &Path, context: &Context<'_>) -> io::Result<()> {
    let upper = staged(context.scratch, "upper")?;
    let work = staged(context.scratch, "work")?;
    Layers::open(lowers, Some((&upper, &work)))?.mount(target, context.user_namespace)
}

/// Shows the process its `/etc/resolv.conf` and `/etc/hosts`, read-only.
pub(crate) fn mount_network_files(
    stubs: &mut Stubs<'_>,
    process: &Process,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let resolv_conf = match &process.resolv_conf {
        Some(path) => fs::read_to_string(path).step(|| format!("read {}", path.display()))?,
        None => network_files::host_resolv_conf(process.network == Network::Host),
    };
    let hosts = network_files::hosts(process.hostname(), &process.extra_hosts);
    for (name, text) in [("resolv.conf", resolv_conf), ("hosts", hosts)] {
        let dest = Path::new("/etc").join(name);
        let path = context.scratch.join(name);
        write_public(&path, &text).step(|| format!("write {}", dest.display()))?;
        let mount = Mount {
            nosuid: true,
            nodev: true,
            noexec: true,
            ..Mount::new(dest, MountSource::File(path)).readonly()
        };
        mount_one(stubs, &mount, 0, true, context)?;
    }
    Ok(())
}

/// Writes a file that everyone may read, whatever the mask.
fn write_public(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o644))?)
}

/// Mounts what the process asked for, parents first.
pub(crate) fn mount_all(
    stubs: &mut Stubs<'_>,
    process: &Process,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let nodev = keeps_devices_dead(process, context);
    for (number, mount) in process.sorted_mounts().into_iter().enumerate() {
        mount_one(stubs, mount, number, nodev, context)?;
    }
    Ok(())
}

pub(crate) fn mount_one(
    stubs: &mut Stubs<'_>,
    mount: &Mount,
    number: usize,
    nodev: bool,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let step = || format!("mount {}", mount.dest.display());
    let (tree, kind) = detached(mount, number, context).step(step)?;
    restrict(&tree, mount, nodev).step(step)?;
    let place = stubs.ensure(&mount.dest, kind)?;
    attach(&tree, place).step(step)?;
    if mount.shared { stubs.share(&tree).step(step) } else { Ok(()) }
}

/// The mount's source as a detached tree, and what it must sit on.
pub(crate) fn detached(
    mount: &Mount,
    number: usize,
    context: &Context<'_>,
) -> io::Result<(OwnedFd, Kind)> {
    let layers = match &mount.source {
        MountSource::Overlay { lowers, upper, work } => Layers::open(lowers, Some((upper, work)))?,
        MountSource::OverlayReadonly { lowers } => Layers::open(lowers, None)?,
        MountSource::Bind(path) | MountSource::File(path) | MountSource::Socket(path) => {
            return inside(&place(path)?, mount.selector.as_deref());
        }
        MountSource::Tmpfs { size, mode } => return Ok((tmpfs(*size, *mode)?, Kind::Directory)),
    };
    let target = staged(context.scratch, &format!("mount-{number}"))?;
    layers.mount(&target, context.user_namespace)?;
    inside(&directory(&target)?, mount.selector.as_deref())
}

/// A detached bind of `selector` below `source`; links in it cannot lead out.
fn inside(source: &OwnedFd, selector: Option<&str>) -> io::Result<(OwnedFd, Kind)> {
    let chosen = match selector {
        Some(selector) if !selector.is_empty() => {
            let path = crate::process::normal(Path::new(selector));
            open_inside(source, &path, OFlags::PATH).map_err(|error| named(&path, &error.into()))?
        }
        _ => source.try_clone()?,
    };
    let is_directory =
        FileType::from_raw_mode(rustix::fs::fstat(&chosen)?.st_mode) == FileType::Directory;
    let kind = if is_directory { Kind::Directory } else { Kind::File };
    Ok((bind(chosen.as_fd())?, kind))
}

pub(crate) fn place(path: &Path) -> io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| named(path, &error.into()))
}

fn tmpfs(size: Option<u64>, mode: u32) -> io::Result<OwnedFd> {
    let (mode, size) = (format!("{mode:o}"), size.map(|size| size.to_string()));
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.as_deref().map(|size| ("size", size)));
    filesystem("tmpfs", &options, MountAttrFlags::empty())
}

/// Sets what the mount asks for on its tree.
pub(crate) fn restrict(tree: &OwnedFd, mount: &Mount, nodev: bool) -> io::Result<()> {
    match attributes(mount, nodev) {
        0 => Ok(()),
        attributes => sys::mount_setattr(tree.as_fd(), attributes, true),
    }
}

fn attributes(mount: &Mount, nodev: bool) -> u64 {
    [
        (mount.readonly, libc::MOUNT_ATTR_RDONLY),
        (mount.nosuid, libc::MOUNT_ATTR_NOSUID),
        (mount.nodev || nodev, libc::MOUNT_ATTR_NODEV),
        (mount.noexec, libc::MOUNT_ATTR_NOEXEC),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |all, (_, attribute)| all | attribute)
}
