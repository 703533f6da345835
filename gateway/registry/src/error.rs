//! What can go wrong between Kiln and a registry, said so that a person can act on it.
//!
//! Every variant names the host or the reference. What a server sent is shortened and stripped of
//! control characters before it becomes part of a message.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use kiln_oci::Digest;

use crate::lookup::LookupError;

/// Why a request to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or one that broke and stayed broken through all retries.
    #[error("cannot reach registry {host}: {cause}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What happened, and what to look at.
        cause: String,
        /// What the network said.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The server's certificate was not accepted, or it does not speak TLS.
    #[error(
        "TLS with registry {host} failed: {cause} (add its certificate authority to `ca` of this \
         registry, or set `insecure` or `http` for it)"
    )]
    Tls {
        /// Host and port.
        host: String,
        /// What the handshake said.
        cause: String,
    },
    /// The registry wants a login that nobody gave, or refused the one it got.
    #[error("{subject}: registry {host} requires authorization{said} (log in to {host} first)")]
    Unauthorized {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// The server's own words.
        said: ServerSaid,
    },
    /// The login is known and not allowed to do this.
    #[error(
        "{subject}: access denied by registry {host}{said} (the repository may not exist, or this \
         login may not be allowed to use it)"
    )]
    Denied {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// The server's own words.
        said: ServerSaid,
    },
    /// The registry has no such thing.
    #[error("{subject}: not found in registry {host}{said}")]
    NotFound {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// The server's own words.
        said: ServerSaid,
    },
    /// Too many requests, and waiting as told did not help.
    #[error("{subject}: registry {host} limits the rate of requests{said} (log in, or try later)")]
    RateLimited {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// The server's own words.
        said: ServerSaid,
    },
    /// It answers too slowly or not at all, and went on to do so.
    #[error("{subject}: registry {host} {what}{}", given_up(*attempts, *took))]
    Stalled {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// What it did, and for how long.
        what: String,
        /// How often it was asked.
        attempts: usize,
        /// How long all that took.
        took: Duration,
    },
    /// Any other answer that is not success.
    #[error("{subject}: registry {host} answered {status}{said}")]
    Status {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        said: ServerSaid,
    },
    /// The answer is against the protocol.
    #[error("{subject}: registry {host} sent something unusable: {what}")]
    Protocol {
        /// What was asked for.
        subject: String,
        /// Host and port.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// More bytes than announced or allowed.
    #[error("{subject}: more than {limit} bytes")]
    TooLarge {
        /// What was read.
        subject: String,
        /// The most that is read.
        limit: u64,
    },
    /// The bytes are not those the digest names.
    #[error("{subject}: digest mismatch: got {got}, wanted {wanted}")]
    DigestMismatch {
        /// What was read.
        subject: String,
        /// The digest asked for.
        wanted: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// A manifest, index or config that does not decode, or lacks what every image has.
    #[error("{subject}: {what}")]
    Document {
        /// What was read.
        subject: String,
        /// What is wrong with it.
        what: String,
    },
    /// The image exists, but not for this platform.
    #[error(
        "{subject}: no match for platform {wanted} in manifest: not found (available: {found})"
    )]
    NoPlatform {
        /// The image.
        subject: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms there are, separated by commas.
        found: String,
    },
    /// The owner of the credentials failed to answer.
    #[error("credentials for registry {host} could not be had")]
    Credentials {
        /// Host and port.
        host: String,
        /// What the owner said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The configuration of this host cannot be used.
    #[error("configuration of registry {host}: {what}")]
    Config {
        /// Host and port.
        host: String,
        /// Which part, and why.
        what: String,
    },
    /// What was to be pushed could not be read.
    #[error("{subject}: content to push could not be read")]
    Body {
        /// What was to be pushed.
        subject: String,
        /// What the reader said.
        source: io::Error,
    },
    /// The document came from somewhere that is no registry.
    #[error(transparent)]
    Elsewhere(Box<dyn Error + Send + Sync>),
}

impl RegistryError {
    /// True if the registry, or the whole way to it, is what is missing: the thing may exist.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Tls { .. } | Self::RateLimited { .. } => true,
            Self::Stalled { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// What is told of two places that were asked the same one after the other: the later failure, unless
    /// only the earlier place answered. What a registry says tells more than that another is not there.
    pub(crate) fn most_telling(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            Some(earlier) if later.is_unreachable() && !earlier.is_unreachable() => earlier,
            _ => later,
        }
    }

    /// True if the registry said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoPlatform { .. })
    }

    /// The same, after so many attempts that took so long.
    pub(crate) fn after(mut self, all_attempts: usize, all_took: Duration) -> Self {
        if let Self::Stalled { attempts, took, .. } = &mut self {
            (*attempts, *took) = (all_attempts, all_took);
        }
        self
    }

    pub(crate) fn protocol(subject: &str, host: &str, what: impl Into<String>) -> Self {
        Self::Protocol { subject: subject.into(), host: host.into(), what: what.into() }
    }

    /// Sorts a failed exchange into causes a person can act on.
    pub(crate) fn network(host: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let host = host.to_owned();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        let (mut kind, mut last) = (None, String::new());
        while let Some(here) = cause {
            if let Some(tls) = here.downcast_ref::<rustls::Error>() {
                return Self::Tls { host, cause: tls.to_string() };
            }
            if let Some(lookup) = here.downcast_ref::<LookupError>() {
                return Self::Unreachable { host, cause: lookup.to_string(), source: None };
            }
            last = here.to_string();
            cause = match here.downcast_ref::<io::Error>() {
                Some(failed) => {
                    kind = kind.filter(|k| *k != io::ErrorKind::Other).or(Some(failed.kind()));
                    // An io::Error passes over what it holds when it is asked for its source.
                    failed.get_ref().map(|inner| inner as &(dyn Error + 'static))
                }
                None => here.source(),
            };
        }
        let cause = match kind {
            Some(io::ErrorKind::ConnectionRefused) => {
                "connection refused (is it running, and on this port?)".to_owned()
            }
            Some(io::ErrorKind::ConnectionReset) => "connection reset by peer".to_owned(),
            _ if error.is_timeout() => "timed out (is the network up?)".to_owned(),
            _ => last,
        };
        Self::Unreachable { host, cause, source: Some(Box::new(error)) }
    }
}

fn given_up(attempts: usize, took: Duration) -> String {
    match attempts {
        0 | 1 => String::new(),
        _ => format!(" (given up after {attempts} attempts and {} s)", took.as_secs()),
    }
}

/// What a server said about a failure; empty, or `: "…"` ready to stand behind a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSaid(String);

impl ServerSaid {
    /// Takes the messages out of an error document of the distribution specification, or else the
    /// beginning of the text.
    pub(crate) fn of(body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Body {
            #[serde(default)]
            errors: Vec<Entry>,
            #[serde(default)]
            details: String,
        }
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let text = match serde_json::from_slice::<Body>(body) {
            Ok(body) if !body.errors.is_empty() => {
                let line = |e: &Entry| match (e.code.as_str(), e.message.as_str()) {
                    ("", message) => message.to_owned(),
                    (code, "") => code.to_lowercase(),
                    (code, message) => format!("{}: {message}", code.to_lowercase()),
                };
                body.errors.iter().take(4).map(line).collect::<Vec<_>>().join("; ")
            }
            Ok(body) => body.details,
            Err(_) if body.starts_with(b"<") => String::new(), // an error page for browsers
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        Self(text.trim().chars().filter(|c| !c.is_control()).take(300).collect())
    }
}

impl fmt::Display for ServerSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": server says \"{}\"", self.0) }
    }
}
