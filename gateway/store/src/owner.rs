//! Owners of files where only one user id can be written.
//!
//! An unprivileged user namespace without `newuidmap` maps a single id, and `chown` to any other
//! fails with EINVAL; without namespaces, or for root without its rights, with EPERM. There the owner that a file should have is kept in the extended attribute
//! `user.kiln.owner` ("uid:gid", on regular files and directories only). The applier, the file
//! operations, receivers and exporters go through [`set_owner`] and [`owner`].

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
    if stands_for_root() {
        return note(path, uid, gid);
    }
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::INVAL | Errno::PERM) if single_id() => note(path, uid, gid),
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
    use std::os::fd::AsRawFd;
    check(uid, gid)?;
    // A note is made of a name.
    let noted = || {
        let open = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        note(&fs::read_link(open)?, uid, gid)
    };
    if stands_for_root() {
        return noted();
    }
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::fchown(&file, user, group) {
        Err(Errno::INVAL | Errno::PERM) if single_id() => noted(),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// Notes whose a file is meant to be. Links and devices cannot hold a note, and are root's.
fn note(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Ok(());
    }
    if (uid, gid) == (0, 0) && stands_for_root() {
        return forget(path);
    }
    let value = format!("{uid}:{gid}");
    let set = || rustix::fs::lsetxattr(path, OWNER_XATTR, value.as_bytes(), XattrFlags::empty());
    match set() {
        // A file that nobody may write takes no note, unless the right to write all is there.
        Err(Errno::ACCESS) => {
            let mode = metadata.permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode.mode() | 0o200))?;
            let noted = set();
            fs::set_permissions(path, mode)?;
            Ok(noted?)
        }
        result => Ok(result?),
    }
}

/// The user and group a file is meant to belong to, following no symbolic link.
pub fn owner(path: &Path) -> io::Result<(u32, u32)> {
    Ok(owner_of(path, &fs::symlink_metadata(path)?))
}

/// The same, for who has the metadata already.
pub fn owner_of(path: &Path, metadata: &fs::Metadata) -> (u32, u32) {
    let plain = match stands_for_root() {
        true => as_root(metadata.uid(), metadata.gid()),
        false => (metadata.uid(), metadata.gid()),
    };
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

/// Whether the user of this process stands for root, who is not there: outside any namespace of its
/// own, an ordinary user's files are those that root would have made.
fn stands_for_root() -> bool {
    !rustix::process::geteuid().is_root()
}

/// The ids of a file for who reads one's own as root's.
fn as_root(uid: u32, gid: u32) -> (u32, u32) {
    let own_user = uid == rustix::process::geteuid().as_raw();
    let own_group = gid == rustix::process::getegid().as_raw();
    (if own_user { 0 } else { uid }, if own_group { 0 } else { gid })
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
