//! The system calls, all relative to an open directory and none through a symbolic link.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};

use crate::path;

/// Flags for a directory that will be listed.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for a file that will be read.
pub(crate) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
/// Flags for a file that must not exist yet.
pub(crate) const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The longest list of attribute names and the longest value accepted, in bytes (the kernel's limit).
const XATTR_BYTES: usize = 64 << 10;

/// Opens `path` below `root`; the empty path is the root itself. No component may be a symbolic link.
pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: u32,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let target = if path.is_empty() { "." } else { path };
    match rustix::fs::openat2(root, target, flags, Mode::from_raw_mode(mode), resolve) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            open_stepwise(root, path, flags, mode)
        }
        other => Ok(other?),
    }
}

/// The same where the kernel or a seccomp profile has no `openat2`: one component after the other.
fn open_stepwise(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: u32,
) -> io::Result<OwnedFd> {
    let mut directory = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    if path.is_empty() {
        return Ok(directory);
    }
    for name in path::parent(path).split('/').filter(|name| !name.is_empty()) {
        directory = rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty())?;
    }
    Ok(rustix::fs::openat(
        &directory,
        path::name(path),
        flags | OFlags::NOFOLLOW,
        Mode::from_raw_mode(mode),
    )?)
}

/// What the kernel says about one entry of a directory, symbolic links not followed.
pub(crate) fn lstat(directory: BorrowedFd<'_>, name: &str) -> io::Result<rustix::fs::Stat> {
    Ok(rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Modification time in nanoseconds since 1970.
pub(crate) fn modified_nanoseconds(stat: &rustix::fs::Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64)
}

/// The target of a symbolic link, if it is text.
pub(crate) fn read_link(directory: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    target
        .into_string()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the link's target is not UTF-8"))
}

/// The names in a directory, sorted by their bytes, with their type where the file system tells it.
pub(crate) fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        names.push((entry.file_name().to_bytes().to_vec(), entry.file_type()));
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// The extended attributes of an entry that `wanted` accepts; unreadable ones are left out.
pub(crate) fn xattrs(
    directory: BorrowedFd<'_>,
    name: &str,
    wanted: impl Fn(&str) -> bool,
) -> Vec<(String, Vec<u8>)> {
    // The only way to name an entry of an open directory to these calls.
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    let mut names = vec![0u8; 256];
    let length = match rustix::fs::llistxattr(&path, &mut names[..]) {
        Err(rustix::io::Errno::RANGE) => {
            names = vec![0; XATTR_BYTES];
            rustix::fs::llistxattr(&path, &mut names[..]).unwrap_or(0)
        }
        other => other.unwrap_or(0),
    };
    names[..length]
        .split(|byte| *byte == 0)
        .filter_map(|key| std::str::from_utf8(key).ok())
        .filter(|key| !key.is_empty() && wanted(key))
        .filter_map(|key| Some((key.to_owned(), xattr(&path, key)?)))
        .collect()
}

fn xattr(path: &str, key: &str) -> Option<Vec<u8>> {
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, key, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Some(value);
            }
            Err(rustix::io::Errno::RANGE) if value.len() < XATTR_BYTES => {
                value = vec![0; XATTR_BYTES];
            }
            Err(_) => return None,
        }
    }
}

/// Sets one extended attribute of an open file or directory.
pub(crate) fn set_xattr(file: BorrowedFd<'_>, key: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, key, value, XattrFlags::empty())?)
}

/// The time stamps that set the modification time (nanoseconds since 1970) and leave the other alone.
pub(crate) fn timestamps(modified: i64) -> rustix::fs::Timestamps {
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let modified = rustix::fs::Timespec {
        tv_sec: modified.div_euclid(1_000_000_000),
        tv_nsec: modified.rem_euclid(1_000_000_000),
    };
    rustix::fs::Timestamps { last_access: omit, last_modification: modified }
}
