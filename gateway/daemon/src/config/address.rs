//! Addresses to listen on.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A host and port.
    Tcp(String),
    /// A socket that the process was started with.
    Passed(PassedSocket),
}

/// Which socket of those that the process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedSocket {
    /// The first.
    First,
    /// The one with this file descriptor.
    Number(i32),
    /// The one with this name.
    Name(String),
}

/// Why a text is no address to listen on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no scheme.
    #[error("address {0} does not contain proto, you meant unix://{0} ?")]
    NoScheme(String),
    /// The scheme is none that is known here.
    #[error("cannot listen on {0}: expected unix://PATH, tcp://HOST:PORT or fd://")]
    Scheme(String),
    /// A part is missing.
    #[error("{0} names no {1}")]
    Incomplete(String, &'static str),
}

impl Address {
    /// Reads an address of the debug endpoint, for which `HOST:PORT` is enough.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn of_debug_endpoint(text: &str) -> Result<Self, AddressError> {
        if text.contains("://") { text.parse() } else { format!("tcp://{text}").parse() }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::NoScheme(text.to_owned()));
        };
        match scheme {
            "unix" if rest.is_empty() => Err(AddressError::Incomplete(text.to_owned(), "path")),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" => match rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
                Some(Ok(_)) => Ok(Self::Tcp(rest.to_owned())),
                _ => Err(AddressError::Incomplete(text.to_owned(), "port")),
            },
            "fd" => Ok(Self::Passed(match (rest, rest.parse()) {
                ("", _) => PassedSocket::First,
                (_, Ok(number)) => PassedSocket::Number(number),
                (name, Err(_)) => PassedSocket::Name(name.to_owned()),
            })),
            _ => Err(AddressError::Scheme(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Passed(PassedSocket::First) => f.write_str("fd://"),
            Self::Passed(PassedSocket::Number(number)) => write!(f, "fd://{number}"),
            Self::Passed(PassedSocket::Name(name)) => write!(f, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in
            ["unix:///run/a.sock", "tcp://[::1]:1234", "tcp://:0", "fd://", "fd://4", "fd://api"]
        {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.into()));
        }
        assert_eq!(Address::of_debug_endpoint("0.0.0.0:6060"), "tcp://0.0.0.0:6060".parse());
    }

    #[test]
    fn what_is_no_address_says_what_is_missing() {
        let error = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert_eq!(
            error("/run/kilnd.sock"),
            "address /run/kilnd.sock does not contain proto, you meant unix:///run/kilnd.sock ?"
        );
        assert_eq!(error("tcp://host"), "tcp://host names no port");
        assert_eq!(error("unix://"), "unix:// names no path");
        assert!(error("npipe:////./pipe/x").contains("expected unix://PATH"));
    }
}
