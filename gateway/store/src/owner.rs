//! Owners of files where only one user id can be written.
//!
//! An unprivileged user namespace without `newuidmap` maps a single id, and `chown` to any other
//! fails with EINVAL. There the owner that a file should have is kept in the extended attribute
//! `user.kiln.owner` ("uid:gid", on regular files and directories only). The applier, the file
//! operations, receivers and exporters go through [`set_owner`] and [`owner`].

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Gid, Uid, XattrFlags};
use rustix::io::Errno;

/// Where the intended owner is kept.
pub const OWNER_XATTR: &str = "user.kiln.owner";

/// Gives a file to a user and group, following no symbolic link.
///
/// # Errors
///
/// Besides what the kernel answers: if one of the ids is 4294967295, which the kernel reads as
/// "leave it as it is".
pub fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    check(uid, gid)?;
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::INVAL | Errno::PERM) if single_id() => {
            let kind = fs::symlink_metadata(path)?.file_type();
            if !kind.is_file() && !kind.is_dir() {
                return Ok(());
            }
            let value = format!("{uid}:{gid}");
            Ok(rustix::fs::lsetxattr(path, OWNER_XATTR, value.as_bytes(), XattrFlags::empty())?)
        }
        Err(error) => Err(error.into()),
        Ok(()) => forget(path),
    }
}

/// Gives an open file or directory to a user and group; see [`set_owner`].
///
/// # Errors
///
/// As [`set_owner`].
pub fn set_owner_of(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    check(uid, gid)?;
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::fchown(&file, user, group) {
        Err(Errno::INVAL | Errno::PERM) if single_id() => {
            let value = format!("{uid}:{gid}");
            Ok(rustix::fs::fsetxattr(&file, OWNER_XATTR, value.as_bytes(), XattrFlags::empty())?)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// The user and group a file is meant to belong to, following no symbolic link.
pub fn owner(path: &Path) -> io::Result<(u32, u32)> {
    Ok(owner_of(path, &fs::symlink_metadata(path)?))
}

/// The same, for who has the metadata already.
pub fn owner_of(path: &Path, metadata: &fs::Metadata) -> (u32, u32) {
    let plain = (metadata.uid(), metadata.gid());
    if !single_id() || !(metadata.is_file() || metadata.is_dir()) {
        return plain;
    }
    let mut buffer = [0u8; 32];
    let Ok(len) = rustix::fs::lgetxattr(path, OWNER_XATTR, &mut buffer[..]) else { return plain };
    parse(&buffer[..len]).unwrap_or(plain)
}

/// A file that can be chowned after all needs no note of an earlier owner.
fn forget(path: &Path) -> io::Result<()> {
    if single_id() {
        rustix::fs::lremovexattr(path, OWNER_XATTR).ok();
    }
    Ok(())
}

fn check(uid: u32, gid: u32) -> io::Result<()> {
    let what = match (uid, gid) {
        (u32::MAX, _) => "user",
        (_, u32::MAX) => "group",
        _ => return Ok(()),
    };
    let message = format!("{what} id {} is out of range (0 to {})", u32::MAX, u32::MAX - 1);
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn parse(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Whether this process can write one user id only.
pub fn single_id() -> bool {
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| {
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| mapped_ids(&map) == 1)
            || !can_give_away()
    })
}

/// Whether the kernel lets this process give files to other users: root may lack that right, too.
fn can_give_away() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::CHOWN))
}

/// Whether this process lives in a user namespace other than the machine's.
pub(crate) fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let fields: Vec<&str> = map.split_whitespace().collect();
        fields != ["0", "0", "4294967295"]
    })
}

fn mapped_ids(map: &str) -> u64 {
    map.lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_all_ranges_are_counted() {
        assert_eq!(mapped_ids("         0          0 4294967295\n"), 4_294_967_295);
        assert_eq!(mapped_ids("0 1000 1\n1 100000 65536\n"), 65_537);
        assert_eq!(mapped_ids("0 1000 1\n"), 1);
    }

    #[test]
    fn minus_one_is_no_id() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = rustix::process::geteuid().as_raw();
        for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
            let error = set_owner(file.path(), uid, gid).unwrap_err();
            assert!(error.to_string().contains("4294967295 is out of range"), "{error}");
            set_owner_of(file.as_file(), uid, gid).unwrap_err();
        }
        assert_eq!(owner(file.path()).unwrap().0, own);
    }

    #[test]
    fn a_note_of_an_owner_is_two_numbers() {
        assert_eq!(parse(b"0:65534"), Some((0, 65534)));
        assert_eq!(parse(b"0"), None);
        assert_eq!(parse(b"-1:2"), None);
    }
}
