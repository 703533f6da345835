//! Unix sockets, and who may use them.
//!
//! Whoever can open a Unix socket may build with all the daemon's rights, so it is the owner's and
//! one group's, from the moment it exists and whatever the process' mask.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use crate::config::Group;

/// How many connections may wait.
const BACKLOG: i32 = 1024;
/// Owner and group.
const SOCKET_MODE: u32 = 0o660;
/// The owner alone.
const PRIVATE_MODE: u32 = 0o600;
/// A directory for a socket: everyone may pass, only the owner may look or write. The sticky bit
/// keeps who tidies up below `/run/user` away from it.
const DIRECTORY_MODE: u32 = 0o1711;

/// Why a socket cannot be someone's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// There is no such group.
    #[error("there is no group {0} in /etc/group")]
    NoGroup(String),
    /// A user namespace hides it.
    #[error(
        "{kind} {id} is not one of those that this user may give files to: add it to {file}, or leave it out"
    )]
    Unmapped {
        /// A user or a group.
        kind: &'static str,
        /// The number.
        id: u32,
        /// The file that says which there are.
        file: &'static str,
    },
}

/// Whose a socket is; the process' own, if nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// Listens on a path; what a daemon that was killed left there is removed.
pub(super) fn listen(path: &Path, owner: &Owner) -> io::Result<UnixListener> {
    listen_for(path, owner, SOCKET_MODE)
}

/// As [`listen()`], for this process' user alone.
pub(super) fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    listen_for(path, &Owner::default(), PRIVATE_MODE)
}

fn listen_for(path: &Path, owner: &Owner, mode: u32) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    if UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).ok();
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the mode of the socket: at first the owner's only, until it has its group.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(PRIVATE_MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

impl Owner {
    /// The owner and group of this machine, as this process calls them: in a user namespace they may
    /// have other numbers, or none.
    pub(super) fn find(uid: Option<u32>, group: Option<&Group>) -> Result<Self, OwnerError> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let gid = group.map(|group| match group {
            Group::Id(id) => Ok(*id),
            Group::Name(name) => group_id(name, &read("/etc/group")),
        });
        let inside = |kind, id, map, file| {
            mapped(id, &read(map)).ok_or(OwnerError::Unmapped { kind, id, file })
        };
        let user = |id| inside("user", id, "/proc/self/uid_map", "/etc/subuid");
        let group = |id| inside("group", id, "/proc/self/gid_map", "/etc/subgid");
        Ok(Self { uid: uid.map(user).transpose()?, gid: gid.transpose()?.map(group).transpose()? })
    }
}

/// The number of an id inside of a user namespace with this map.
fn mapped(outside: u32, map: &str) -> Option<u32> {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    let mut inside = ranges.filter_map(|(inside, first, count)| {
        let distance =
            u64::from(outside).checked_sub(first).filter(|distance| *distance < count)?;
        u32::try_from(inside + distance).ok()
    });
    inside.next()
}

/// The id of a group, by its name in the text of `/etc/group`.
///
/// # Errors
///
/// If it is not there, or has no id.
pub fn group_id(name: &str, groups: &str) -> Result<u32, OwnerError> {
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = (fields.next()? == name).then(|| fields.nth(1))??;
        id.parse().ok().filter(|id| *id != u32::MAX)
    });
    found.ok_or_else(|| OwnerError::NoGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_group_has_a_name_and_an_id() {
        let groups = "root:x:0:\nbuild:x:77:ann\nbad:x:4294967295:\n";
        assert_eq!(group_id("build", groups), Ok(77));
        for nonsense in ["none", "bad", ""] {
            assert!(group_id(nonsense, groups).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn ids_are_those_of_the_user_namespace() {
        let all = "         0          0 4294967295\n";
        assert_eq!(mapped(5, all), Some(5));
        let some = "0 1000 1\n1 100000 65536\n";
        assert_eq!(mapped(1000, some), Some(0));
        assert_eq!(mapped(100_007, some), Some(8));
        assert_eq!(mapped(77, some), None);
        assert_eq!(mapped(165_536, some), None);
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/kiln/kilnd.sock");
        let own = Owner { uid: None, gid: Some(rustix::process::getegid().as_raw()) };
        drop(listen(&path, &own).unwrap());
        // Once more, over what is left there.
        let _listener = listen(&path, &own).unwrap();
        assert!(listen(&path, &own).is_err(), "a daemon listens there");
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, SOCKET_MODE);
        assert_eq!(Some(metadata.gid()), own.gid);
        let above = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(above.permissions().mode() & 0o022, 0);
    }
}
