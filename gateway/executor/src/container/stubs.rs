//! Mount points that had to be made: found or created inside the root, and removed afterwards.
//!
//! Paths are resolved by the kernel as if the root were `/`, so that no symbolic link of an image
//! leads out. Every directory that gets a stub is kept open and handed to the spawner, which removes
//! what is still empty once the process has ended, and puts modification times back. Stubs in mounts
//! that others have too stay: the mount of another process may sit on the same one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use serde::{Deserialize, Serialize};

use super::Identity;
use crate::process::{Process, normal};
use crate::spawner::{Failure, Step};

/// How many links and missing parents one path may have.
const MAX_STEPS: u32 = 255;

/// What a mount needs to sit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Something made for a mount, in a [`StubDirectory`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stub {
    name: Vec<u8>,
    kind: Kind,
    /// Later ones are removed first, so that children go before their parents.
    order: u32,
}

/// Modification time: seconds and nanoseconds.
type Time = (i64, i64);

/// A directory in which stubs were made; its descriptor travels beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StubDirectory {
    before: Time,
    after: Time,
    stubs: Vec<Stub>,
}

/// Finds mount points, making those that are missing.
#[derive(Debug)]
pub(crate) struct Stubs<'a> {
    root: &'a OwnedFd,
    /// The root through a mount that stays writable when the process' own becomes read-only.
    writable: Option<Writable>,
    recursive: bool,
    made: u32,
    directories: Vec<Open>,
    /// Ids of mounts that other processes may have too.
    shared: Vec<u64>,
}

#[derive(Debug)]
struct Writable {
    clone: OwnedFd,
    prefix: PathBuf,
    mount: u64,
}

#[derive(Debug)]
struct Open {
    descriptor: OwnedFd,
    identity: (u64, u64),
    directory: StubDirectory,
}

/// Whether a created entry is removed in the end, and whose it is.
#[derive(Debug, Clone, Copy)]
enum Purpose<'a> {
    MountPoint { parent: bool },
    WorkingDirectory(&'a Identity),
}

impl<'a> Stubs<'a> {
    /// Starts in `root`, the mounted but still writable root of `process`.
    pub(crate) fn new(root: &'a OwnedFd, process: &Process) -> Result<Self, Failure> {
        let writable = if process.readonly_rootfs {
            Some(Writable::new(root).step(|| "open the root".into())?)
        } else {
            None
        };
        let recursive = process.remove_mount_stubs;
        Ok(Self { root, writable, recursive, made: 0, directories: Vec::new(), shared: Vec::new() })
    }

    /// The root as the process will see it.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the place `path` inside the root, making it if there is nothing.
    pub(crate) fn ensure(&mut self, path: &Path, kind: Kind) -> Result<OwnedFd, Failure> {
        let purpose = Purpose::MountPoint { parent: false };
        self.reach(&normal(path), kind, purpose, MAX_STEPS)
            .step(|| format!("make mount point {}", path.display()))
    }

    /// Makes the working directory, owned by the process' user; it stays.
    pub(crate) fn make_working_directory(
        &mut self,
        path: &Path,
        identity: &Identity,
    ) -> Result<(), Failure> {
        let purpose = Purpose::WorkingDirectory(identity);
        self.reach(&normal(path), Kind::Directory, purpose, MAX_STEPS)
            .map(drop)
            .step(|| format!("make working directory {}", path.display()))
    }

    /// Notes that other processes may have what is mounted there, too.
    pub(crate) fn share(&mut self, mounted: &OwnedFd) -> io::Result<()> {
        self.shared.push(mount_of(mounted)?);
        Ok(())
    }

    /// What was made, each directory with its descriptor.
    pub(crate) fn finish(self) -> impl Iterator<Item = (StubDirectory, OwnedFd)> {
        self.directories.into_iter().map(|mut open| {
            if let Ok(stat) = rustix::fs::fstat(&open.descriptor) {
                open.directory.after = modified(&stat);
            }
            (open.directory, open.descriptor)
        })
    }

    fn reach(
        &mut self,
        path: &Path,
        kind: Kind,
        purpose: Purpose<'_>,
        steps: u32,
    ) -> io::Result<OwnedFd> {
        match open_inside(self.root, path, OFlags::PATH) {
            Err(Errno::NOENT) if steps > 0 => {}
            Err(Errno::NOENT) => return Err(Errno::LOOP.into()),
            result => return Ok(result?),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.components().next_back()) else {
            return Err(Errno::NOENT.into());
        };
        let above = match purpose {
            Purpose::MountPoint { .. } => Purpose::MountPoint { parent: true },
            purpose => purpose,
        };
        let directory = self.reach(parent, Kind::Directory, above, steps - 1)?;
        let std::path::Component::Normal(name) = name else {
            // A link's target may go up again through what was missing until now.
            return Ok(open_inside(self.root, path, OFlags::PATH)?);
        };
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            // A link to nothing: its target is made, inside the root.
            Ok(target) => {
                let target = parent.join(OsStr::from_bytes(target.as_bytes()));
                self.reach(&target, kind, purpose, steps - 1)
            }
            Err(_) => self.make(&directory, name, kind, purpose),
        }
    }

    fn make(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        kind: Kind,
        purpose: Purpose<'_>,
    ) -> io::Result<OwnedFd> {
        let directory = self.open_directory(parent)?;
        let before = rustix::fs::fstat(&directory)?;
        let made = match kind {
            Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) => {}
            // Another process, with which the directory is shared, was faster.
            Err(Errno::EXIST) => return self.open_made(parent, name),
            Err(error) => return Err(error.into()),
        }
        match purpose {
            Purpose::WorkingDirectory(identity) => {
                let owner = Some(rustix::fs::Uid::from_raw(identity.uid));
                let group = Some(rustix::fs::Gid::from_raw(identity.gid));
                rustix::fs::chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Purpose::MountPoint { parent: true } if !self.recursive => {}
            Purpose::MountPoint { .. } if self.is_shared(parent)? => {}
            Purpose::MountPoint { .. } => self.record(directory, &before, name, kind),
        }
        self.open_made(parent, name)
    }

    fn is_shared(&self, directory: &OwnedFd) -> io::Result<bool> {
        Ok(!self.shared.is_empty() && self.shared.contains(&mount_of(directory)?))
    }

    fn open_made(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
    }

    /// Opens a directory for later removals in it.
    fn open_directory(&self, directory: &OwnedFd) -> io::Result<OwnedFd> {
        if let Some(opened) = self.writable.as_ref().and_then(|root| root.reopen(directory)) {
            return Ok(opened);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(directory, ".", flags, Mode::empty())?)
    }

    fn record(&mut self, descriptor: OwnedFd, before: &rustix::fs::Stat, name: &OsStr, kind: Kind) {
        self.made += 1;
        let stub = Stub { name: name.as_bytes().to_vec(), kind, order: self.made };
        let identity = (before.st_dev, before.st_ino);
        match self.directories.iter_mut().find(|open| open.identity == identity) {
            Some(open) => open.directory.stubs.push(stub),
            None => {
                let before = modified(before);
                let directory = StubDirectory { before, after: before, stubs: vec![stub] };
                self.directories.push(Open { descriptor, identity, directory });
            }
        }
    }
}

impl Writable {
    fn new(root: &OwnedFd) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let clone = rustix::mount::open_tree(root, "", flags)?;
        Ok(Self { clone, prefix: path_of(root)?, mount: mount_of(root)? })
    }

    /// The same directory through the writable clone; `None` if it is on another mount.
    fn reopen(&self, directory: &OwnedFd) -> Option<OwnedFd> {
        if mount_of(directory).ok()? != self.mount {
            return None;
        }
        let path = path_of(directory).ok()?;
        let path = Path::new("/").join(path.strip_prefix(&self.prefix).ok()?);
        open_inside(&self.clone, &path, OFlags::RDONLY | OFlags::DIRECTORY).ok()
    }
}

/// Removes the stubs that are still empty, and restores the times of their directories.
///
/// A directory that the process itself has changed keeps the time the process left.
pub(crate) fn remove(directories: &[(StubDirectory, OwnedFd)]) {
    let times: Vec<Option<Time>> = directories
        .iter()
        .map(|(directory, descriptor)| {
            let now = modified(&rustix::fs::fstat(descriptor).ok()?);
            Some(if now == directory.after { directory.before } else { now })
        })
        .collect();
    let mut stubs: Vec<(&OwnedFd, &Stub)> = directories
        .iter()
        .flat_map(|(directory, fd)| directory.stubs.iter().map(move |stub| (fd, stub)))
        .collect();
    stubs.sort_by_key(|(_, stub)| std::cmp::Reverse(stub.order));
    for (directory, stub) in stubs {
        stub.remove(directory);
    }
    for ((_, descriptor), time) in directories.iter().zip(times) {
        let Some((tv_sec, tv_nsec)) = time else { continue };
        let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let last_modification = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access, last_modification };
        // A directory that is gone by now needs no time.
        rustix::fs::futimens(descriptor, &times).ok();
    }
}

impl Stub {
    /// Removes the entry if it still is what was made. One that cannot be removed is in use: it stays.
    fn remove(&self, directory: &OwnedFd) {
        let name = OsStr::from_bytes(&self.name);
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        let found = FileType::from_raw_mode(stat.st_mode);
        let flags = match self.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            Kind::File if found == FileType::RegularFile && stat.st_size == 0 => AtFlags::empty(),
            Kind::File => return,
        };
        rustix::fs::unlinkat(directory, name, flags).ok();
    }
}

/// Opens `path` with `root` as `/`: no link, `..` or process directory leads out of it.
pub(crate) fn open_inside(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    for _ in 0..8 {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile; the kernel cannot be sure and asks to try again.
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn modified(stat: &rustix::fs::Stat) -> Time {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}

fn mount_of(fd: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn path_of(fd: &OwnedFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
