//! Attributes of files: mode, owner, times and extended attributes, read and copied without ever
//! following a symbolic link.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::owner;

/// The attribute that hides everything below a directory.
pub(crate) fn opaque_name(user_namespace: bool) -> &'static str {
    if user_namespace { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// Whether nothing from below shows through a directory.
pub(crate) fn is_opaque(path: &Path, user_namespace: bool) -> bool {
    let mut value = [0u8; 1];
    let read = rustix::fs::lgetxattr(path, opaque_name(user_namespace), &mut value[..]);
    read == Ok(1) && value[0] == b'y'
}

/// Whether a file is the mark that hides an entry below.
pub(crate) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.mode() & libc::S_IFMT == libc::S_IFCHR && metadata.rdev() == 0
}

/// Whether an extended attribute is content. Those of overlayfs and of Kiln are not: from an
/// archive they could redirect a directory elsewhere, and in an archive they mean nothing.
pub(crate) fn is_content(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && !name.starts_with(b"user.kiln.")
}

/// The extended attributes of a file that are content, by name.
pub(crate) fn xattrs(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut names = vec![0u8; 1024];
    let len = loop {
        match rustix::fs::llistxattr(path, &mut names[..]) {
            Ok(len) => break len,
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut found = Vec::new();
    for name in names[..len].split(|byte| *byte == 0) {
        if name.is_empty() || !is_content(name) {
            continue;
        }
        let name = OsStr::from_bytes(name);
        if let Some(value) = xattr(path, name)? {
            found.push((OsString::from_vec(name.as_bytes().to_vec()), value));
        }
    }
    found.sort();
    Ok(found)
}

fn xattr(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    // The kernel allows values of at most 64 KiB.
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 1 << 16 => value.resize(1 << 16, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets an extended attribute; what the file system or the namespace cannot hold is left out, as
/// other builders do.
pub(crate) fn set_xattr(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}

/// Gives `to` the extended attributes of `from` that a copy has: those that programs set, access
/// lists and file capabilities, but no labels of this machine. What cannot be set is left out.
///
/// # Errors
///
/// If those of `from` cannot be read.
pub fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    for (name, value) in xattrs(from)? {
        let bytes = name.as_bytes();
        if bytes.starts_with(b"security.") && bytes != b"security.capability" {
            continue;
        }
        if let Err(error) = set_xattr(to, &name, &value) {
            tracing::debug!(path = %to.display(), ?name, %error, "extended attribute not copied");
        }
    }
    Ok(())
}

/// Whether a file that is open has any extended attributes; where that cannot be told, it may have some.
pub fn has_xattrs(file: &File) -> bool {
    // One byte holds no name: what there is does not fit.
    rustix::fs::flistxattr(file, &mut [0u8; 1][..]) != Ok(0)
}

/// Sets the time of the last change; the time of the last access becomes the same.
pub(crate) fn set_times(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives `to` the owner, mode, extended attributes and times of `from`.
///
/// In this order: a change of owner clears set-id bits and capabilities, and every other change
/// touches the times.
pub(crate) fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    let (uid, gid) = owner::owner_of(from, &metadata);
    owner::set_owner(to, uid, gid)?;
    if !metadata.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    for (name, value) in xattrs(from)? {
        set_xattr(to, &name, &value)?;
    }
    set_times(to, metadata.mtime(), metadata.mtime_nsec())
}
