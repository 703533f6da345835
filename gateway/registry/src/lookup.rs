//! From the name of a host to its addresses, with an error that says which name it was.
//!
//! It is what the machine says (`getaddrinfo`), as everything else here asks it. The words of the error are
//! those that users of BuildKit look for.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What the system calls a host that there is not.
const NO_SUCH_HOST: &[&str] = &[
    "Name or service not known",
    "No address associated with hostname",
    // As musl has it.
    "Name does not resolve",
    "Name has no usable address",
];

/// What the system's words begin with.
const PREFIX: &str = "failed to lookup address information: ";

/// Why there is no address for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dial tcp: lookup {host}: {reason}")]
pub struct LookupError {
    /// The name.
    pub host: String,
    /// What the system said.
    pub reason: String,
}

impl LookupError {
    fn new(host: String, said: &str) -> Self {
        let said = said.strip_prefix(PREFIX).unwrap_or(said);
        let reason = if NO_SUCH_HOST.contains(&said) { "no such host" } else { said };
        Self { host, reason: reason.to_owned() }
    }
}

/// Looks names up, for a client of HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lookup;

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            // The client puts the port in.
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let found = found.map(Iterator::collect::<Vec<SocketAddr>>);
            match found {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(error) => Err(LookupError::new(host, &error.to_string()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_there_is_not_is_named_whoever_says_so() {
        for said in NO_SUCH_HOST {
            let error = LookupError::new("nobody".into(), &format!("{PREFIX}{said}"));
            assert_eq!(error.to_string(), "dial tcp: lookup nobody: no such host");
        }
        let error = LookupError::new("x".into(), &format!("{PREFIX}Try again"));
        assert_eq!(error.to_string(), "dial tcp: lookup x: Try again");
    }
}
