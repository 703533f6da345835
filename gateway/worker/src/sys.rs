//! System calls on files that the standard library does not have.
//!
//! All paths are resolved already; none of these calls follows a symbolic link at the end.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// Whether an extended attribute is a note of overlayfs or of the store, which no process sees.
pub(crate) fn is_internal_xattr(name: &str) -> bool {
    let notes = ["trusted.overlay.", "user.overlay.", "user.kiln."];
    notes.iter().any(|note| name.starts_with(note))
}

/// Extended attributes that someone wants, sorted by name.
///
/// # Errors
///
/// If the file cannot be looked at; a file system without attributes has none.
pub(crate) fn xattrs_that(
    path: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 4096];
    let len = loop {
        match rustix::fs::llistxattr(path, &mut names) {
            Ok(len) => break len,
            Err(rustix::io::Errno::RANGE) if names.len() < 1 << 20 => {
                names.resize(names.len() * 2, 0);
            }
            Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut list = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if !is_wanted(name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(len) => {
                value.truncate(len);
                list.push((name.to_owned(), value));
            }
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    list.sort();
    Ok(list)
}

/// Sets the time of last modification, in nanoseconds since 1970, and of last access.
pub(crate) fn set_time(path: &Path, nanoseconds: i128) -> io::Result<()> {
    Ok(rustix::fs::utimensat(CWD, path, &times(nanoseconds), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The same of a file that is open.
pub(crate) fn set_time_of(file: impl AsFd, nanoseconds: i128) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(nanoseconds))?)
}

fn times(nanoseconds: i128) -> Timestamps {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        // Below a thousand million, so it always fits.
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes a device, pipe or socket like another one.
pub(crate) fn make_node(path: &Path, kind: FileType, mode: u32, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode & 0o7777), device)?)
}

/// The kind of a special file, if it is one.
pub(crate) fn special(mode: u32) -> Option<FileType> {
    match FileType::from_raw_mode(mode) {
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => Some(kind),
        _ => None,
    }
}
