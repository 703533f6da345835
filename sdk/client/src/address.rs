//! Where a daemon listens.

use std::path::PathBuf;
use std::str::FromStr;

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:///run/kiln/kilnd.sock`.
    Unix(PathBuf),
    /// `tcp://host:port`, without encryption.
    Tcp(String),
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid daemon address {0:?}: expected unix://<path> or tcp://<host>:<port>")]
pub struct AddressError(pub String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let invalid = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.is_empty() { Err(invalid()) } else { Ok(Self::Unix(path.into())) };
        }
        let host = text.strip_prefix("tcp://").ok_or_else(invalid)?;
        let (name, port) = host.trim_end_matches('/').rsplit_once(':').ok_or_else(invalid)?;
        if name.is_empty() || port.parse::<u16>().is_err() || name.contains('/') {
            return Err(invalid());
        }
        Ok(Self::Tcp(format!("{name}:{port}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ports() {
        assert_eq!("unix:///run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!("tcp://[::1]:1234".parse(), Ok(Address::Tcp("[::1]:1234".into())));
        for wrong in
            ["", "unix://", "/run/x.sock", "tcp://host", "tcp://:1", "tcp://a:b", "http://a:1"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
