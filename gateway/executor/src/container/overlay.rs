//! Mounting: overlays, binds and memory, as mounts that are not attached anywhere yet.
//!
//! Layers are named to the kernel as descriptor numbers, relative to `/proc/self/fd`. So option
//! strings stay short for any number of layers, and no path needs escaping or reaches the container.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

/// Overlay features whose extra attributes would make a layer more than its files.
const PLAIN: &str = ",index=off,redirect_dir=nofollow,metacopy=off";
/// The same inside a user namespace, where they are off in any case.
const PLAIN_UNPRIVILEGED: &str = ",userxattr";

/// Layers, with the descriptors that name them.
#[derive(Debug)]
pub(crate) struct Layers {
    lowers: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
}

impl Layers {
    /// Opens the directories of an overlay, the topmost first.
    pub(crate) fn open(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> io::Result<Self> {
        let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<_, _>>()?;
        let upper = match upper {
            Some((upper, work)) => Some((directory(upper)?, directory(work)?)),
            None => None,
        };
        Ok(Self { lowers, upper })
    }

    /// Mounts the layers on `target`.
    pub(crate) fn mount(&self, target: &Path, user_namespace: bool) -> io::Result<()> {
        match (&self.upper, self.lowers.as_slice()) {
            // The kernel wants two layers at least.
            (Some((single, _)), []) => attach(bind(single.as_fd())?, &directory(target)?),
            (None, [single]) => {
                let mount = bind(single.as_fd())?;
                crate::sys::mount_setattr(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, true)?;
                attach(mount, &directory(target)?)
            }
            _ => self.mount_overlay(&directory(target)?, user_namespace),
        }
    }

    fn mount_overlay(&self, target: &OwnedFd, user_namespace: bool) -> io::Result<()> {
        let options = self.options();
        let plain = if user_namespace { PLAIN_UNPRIVILEGED } else { PLAIN };
        rustix::process::chdir("/proc/self/fd")?;
        let mount = |options: String| {
            let options = std::ffi::CString::new(options).unwrap_or_default();
            let target = target.as_raw_fd().to_string();
            rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), &*options)
        };
        let result = match mount(format!("{options}{plain}")) {
            // An older kernel that does not know these features does not use them either.
            Err(Errno::INVAL) => mount(options),
            result => result,
        };
        rustix::process::chdir("/")?;
        Ok(result?)
    }

    fn options(&self) -> String {
        let names: Vec<String> = self.lowers.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut options = format!("lowerdir={}", names.join(":"));
        if let Some((upper, work)) = &self.upper {
            let (upper, work) = (upper.as_raw_fd(), work.as_raw_fd());
            write!(options, ",upperdir={upper},workdir={work}").ok();
        }
        options
    }
}

/// A detached mount of what `source` refers to, with the mounts below it.
pub(crate) fn bind(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(source, "", flags)?)
}

/// A detached mount of a new file system.
pub(crate) fn filesystem(
    name: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Attaches a detached mount on top of `target`.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Opens a directory of the host as a place only.
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| named(path, &error.into()))
}

/// `error`, with the path it is about.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    let message = crate::spawner::describe(error);
    io::Error::new(error.kind(), format!("{}: {message}", path.display()))
}
