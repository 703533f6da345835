//! The sockets of the daemon, and who may use them.
//!
//! Whoever can open a Unix socket may build with all the daemon's rights, so it is the owner's and
//! one group's, from the moment it exists and whatever the process' mask.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Gid, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, UnixListener};

/// Where connections may wait.
const BACKLOG: i32 = 1024;
/// Owner and group.
const SOCKET_MODE: u32 = 0o660;
/// A directory for a socket: everyone may pass, nobody else may look or write.
const DIRECTORY_MODE: u32 = 0o711;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A host and port.
    Tcp(String),
}

/// An open socket.
#[derive(Debug)]
pub(crate) enum Listener {
    /// On a path, which is removed in the end.
    Unix(UnixListener),
    /// On a port.
    Tcp(TcpListener),
}

impl std::str::FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match (text.strip_prefix("unix://"), text.strip_prefix("tcp://")) {
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (_, Some(host)) => Ok(Self::Tcp(host.to_owned())),
            _ => anyhow::bail!("cannot listen on {text}: expected unix:///PATH or tcp://HOST:PORT"),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

impl Address {
    /// Listens there; a Unix socket is for its owner and `group`.
    pub(crate) async fn listen(&self, group: Option<Gid>) -> anyhow::Result<Listener> {
        let listener = match self {
            Self::Unix(path) => listen_on_path(path, group).map(Listener::Unix),
            Self::Tcp(host) => TcpListener::bind(host).await.map(Listener::Tcp),
        };
        listener.with_context(|| format!("cannot listen on {self}"))
    }
}

/// Listens on a path; what a daemon that was killed left there is removed.
fn listen_on_path(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    if UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).ok();
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the mode of the socket: at first nobody else's, until it has its group.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chownat(CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// A group of the machine, by name or number, as this process calls it: in a user namespace it may
/// have another number, or none.
pub(crate) fn group(text: &str, groups: &str, map: &str) -> anyhow::Result<Gid> {
    let outside = number(text, groups)?;
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    let mut inside = ranges.filter_map(|(inside, first, count)| {
        let distance =
            u64::from(outside).checked_sub(first).filter(|distance| *distance < count)?;
        u32::try_from(inside + distance).ok()
    });
    let found = inside.next().with_context(|| {
        format!("--group: group {outside} is not one of those that this user may give files to (/etc/subgid)")
    });
    Ok(Gid::from_raw(found?))
}

fn number(text: &str, groups: &str) -> anyhow::Result<u32> {
    if let Ok(number) = text.parse::<u32>() {
        anyhow::ensure!(number != u32::MAX, "--group: {text} is no group id");
        return Ok(number);
    }
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = (fields.next()? == text).then(|| fields.nth(1))??;
        number.parse().ok().filter(|number| *number != u32::MAX)
    });
    found.with_context(|| format!("--group: there is no group {text} in /etc/group"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_group_is_a_name_or_a_number() {
        let groups = "root:x:0:\nbuild:x:77:ann\nbad:x:4294967295:\n";
        let all = "         0          0 4294967295\n";
        assert_eq!(group("build", groups, all).unwrap().as_raw(), 77);
        assert_eq!(group("5", groups, all).unwrap().as_raw(), 5);
        for nonsense in ["none", "bad", "4294967295", "-1", ""] {
            assert!(group(nonsense, groups, all).is_err(), "{nonsense}");
        }
        let some = "0 1000 1\n1 100000 65536\n";
        let inside = |text| group(text, groups, some).map(|gid| gid.as_raw()).ok();
        assert_eq!(inside("1000"), Some(0));
        assert_eq!(inside("100007"), Some(8));
        assert_eq!(inside("build"), None);
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/kiln/kilnd.sock");
        let own = rustix::process::getegid();
        let address: Address = format!("unix://{}", path.display()).parse().unwrap();
        drop(address.listen(Some(own)).await.unwrap());
        // Once more, over what is left there.
        let _listener = address.listen(Some(own)).await.unwrap();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, SOCKET_MODE);
        assert_eq!(metadata.gid(), own.as_raw());
        let above = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(above.permissions().mode() & 0o022, 0);
    }

    #[test]
    fn other_addresses_are_refused() {
        assert!("npipe://x".parse::<Address>().is_err());
        assert!("/run/kilnd.sock".parse::<Address>().is_err());
    }
}
