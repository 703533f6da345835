//! Sockets that the process was started with, as systemd does (`LISTEN_FDS`).
//!
//! Variables come in and are believed when they are meant for this process; sockets go out. Besides
//! `memory.rs`, this is the one file of the crate with unsafe code.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::config::{Environment, PassedSocket};

/// The first descriptor that is passed.
const FIRST: i32 = 3;
/// More than anyone passes.
const MOST: i32 = 256;

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// There is none at all.
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    None,
    /// There are others.
    #[error("the process was not started with it, only with: {0}")]
    Other(String),
    /// It is not a socket that listens for streams.
    #[error("descriptor {number} is not a listening socket, of Unix or TCP")]
    Kind {
        /// Its descriptor.
        number: i32,
    },
    /// It cannot be used.
    #[error("descriptor {number}")]
    Socket {
        /// Its descriptor.
        number: i32,
        /// Why.
        source: io::Error,
    },
}

/// The sockets that a process was started with.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    number: i32,
    name: String,
    socket: OwnedFd,
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

impl PassedSockets {
    /// Takes the sockets that the variables promise to the process `pid`, if they are there. Programs
    /// that are started later do not inherit them.
    ///
    /// Must be called once, before this process opens any descriptor that stays open.
    pub fn of_process(environment: &Environment, pid: u32) -> Self {
        let mine = environment.get("LISTEN_PID").and_then(|text| text.parse().ok()) == Some(pid);
        let count = environment.get("LISTEN_FDS").and_then(|text| text.parse::<i32>().ok());
        let count = count.filter(|count| mine && (1..=MOST).contains(count)).unwrap_or_default();
        let names = environment.get("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(ToOwned::to_owned);
        let sockets = (FIRST..FIRST + count).filter_map(|number| {
            let name = names.next().unwrap_or_default();
            Some(Passed { number, name, socket: adopt(number)? })
        });
        Self(sockets.collect())
    }

    /// Takes a socket out.
    pub(super) fn take(&mut self, which: &PassedSocket) -> Result<Socket, PassedError> {
        if self.0.is_empty() {
            return Err(PassedError::None);
        }
        let found = self.0.iter().position(|passed| match which {
            PassedSocket::First => true,
            PassedSocket::Number(number) => passed.number == *number,
            PassedSocket::Name(name) => passed.name == *name,
        });
        let Some(found) = found else {
            let others = self.0.iter().map(|passed| format!("fd://{}", passed.number));
            return Err(PassedError::Other(others.collect::<Vec<_>>().join(", ")));
        };
        let Passed { number, socket, .. } = self.0.remove(found);
        let listener = listener(number, socket)?;
        match &listener {
            Socket::Unix(listener) => listener.set_nonblocking(true),
            Socket::Tcp(listener) => listener.set_nonblocking(true),
        }
        .map_err(|source| PassedError::Socket { number, source })?;
        Ok(listener)
    }
}

fn listener(number: i32, socket: OwnedFd) -> Result<Socket, PassedError> {
    let listens = listens(socket.as_fd());
    let domain = sockopt::socket_domain(&socket);
    match (listens, domain) {
        (true, Ok(AddressFamily::UNIX)) => Ok(Socket::Unix(socket.into())),
        (true, Ok(AddressFamily::INET | AddressFamily::INET6)) => Ok(Socket::Tcp(socket.into())),
        _ => Err(PassedError::Kind { number }),
    }
}

fn listens(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
        && sockopt::socket_type(socket) == Ok(SocketType::STREAM)
}

/// Makes a descriptor this process' own, if it is open.
fn adopt(number: i32) -> Option<OwnedFd> {
    // SAFETY: only looked at: whether it is open is what is asked, and a closed one is an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, as just seen, was passed to this process, which its parent says in the
    // variables, and is owned by nothing else: the process has opened nothing yet.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pid: u32) -> Environment {
        let variables = [("LISTEN_PID", pid.to_string()), ("LISTEN_FDS", "2".to_owned())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Environment { variables, ..Environment::default() }
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        let mut none = PassedSockets::of_process(&environment(1), std::process::id());
        assert!(matches!(none.take(&PassedSocket::First), Err(PassedError::None)));
    }

    #[test]
    fn a_socket_is_found_by_place_number_or_name() {
        let passed =
            |number: i32, name: &str, socket: OwnedFd| Passed { number, name: name.into(), socket };
        let tcp = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let mut all = PassedSockets(vec![
            passed(3, "api", tcp()),
            passed(4, "", tcp()),
            passed(5, "file", tempfile::tempfile().unwrap().into()),
        ]);
        let other = all.take(&PassedSocket::Number(9)).unwrap_err().to_string();
        assert!(other.ends_with("fd://3, fd://4, fd://5"), "{other}");
        assert!(matches!(all.take(&PassedSocket::Number(4)), Ok(Socket::Tcp(_))));
        assert!(matches!(all.take(&PassedSocket::Name("api".into())), Ok(Socket::Tcp(_))));
        assert!(matches!(all.take(&PassedSocket::First), Err(PassedError::Kind { number: 5 })));
    }
}
