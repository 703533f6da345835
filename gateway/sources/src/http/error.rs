//! Why a file could not be had, said so that a person can act on it.

use std::io;

use kiln_oci::Digest;
use kiln_signatures::SignatureError;

use crate::source::Cause;

/// Of the answer to a request that failed, this much is read.
pub(crate) const SAID_LIMIT: usize = 4 << 10;
/// And so much of it is shown.
const SHOWN: usize = 300;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none.
    #[error("`{url}` is not a URL: {reason}")]
    Url {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered something else than the file.
    #[error("failed to fetch {url}: invalid response status {status}{said}{}", hint(*status, host))]
    Status {
        /// What was asked for.
        url: String,
        /// Whom.
        host: String,
        /// What was answered.
        status: u16,
        /// The server's own words, ready to stand behind a message.
        said: String,
    },
    /// There was no answer, or it broke off.
    #[error("failed to fetch {url}: {reason}")]
    Network {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The client did not upload what it promised.
    #[error("failed to fetch {url} from the client")]
    Upload {
        /// What was asked for.
        url: String,
        /// What the client said.
        source: Cause,
    },
    /// The file is another one than the user wants.
    #[error("digest mismatch {got}: {wanted} was expected of {url}")]
    Checksum {
        /// What was asked for.
        url: String,
        /// What the user wants.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
    /// The file is not signed as the user wants it.
    #[error("failed to verify pgp signature of {url}")]
    Signature {
        /// What was asked for.
        url: String,
        /// Why not.
        source: SignatureError,
    },
    /// The file that was saved could not be read.
    #[error("cannot read what {url} answered")]
    Read {
        /// What was asked for.
        url: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The secret that the user named is not there.
    #[error("failed to retrieve HTTP auth secret {id} for {url}: {reason}")]
    Secret {
        /// What was asked for.
        url: String,
        /// The secret.
        id: String,
        /// Why it is not there.
        reason: String,
    },
    /// A header has characters that no header can carry.
    #[error("header {name} for {url} has characters that no header can carry")]
    Header {
        /// What was asked for.
        url: String,
        /// The header.
        name: &'static str,
    },
    /// The file could not be written.
    #[error("failed to store {url}")]
    Write {
        /// What was asked for.
        url: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The store failed.
    #[error("failed to store {url}")]
    Store {
        /// What was asked for.
        url: String,
        /// What the store said.
        source: Cause,
    },
    /// The client that sends requests could not be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What to do about a status.
fn hint(status: u16, host: &str) -> String {
    match status {
        401 | 403 => format!(
            " (if it needs a login, pass the secret HTTP_AUTH_TOKEN_{host} or HTTP_AUTH_HEADER_{host})"
        ),
        _ => String::new(),
    }
}

/// What a server said about a failure, ready to stand behind a message; nothing if that is not meant
/// for people, or for their browsers only.
pub(crate) fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let is_page = text.trim_start().starts_with('<');
    let is_binary = text.contains(['\0', char::REPLACEMENT_CHARACTER]);
    let words: Vec<&str> = text.split_whitespace().collect();
    if is_page || is_binary || words.is_empty() {
        return String::new();
    }
    let text = words.join(" ");
    let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!(": server says \"{shown}{more}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_quoted_if_it_speaks_to_people() {
        assert_eq!(said(b" no such\n\tfile \n"), ": server says \"no such file\"");
        for nothing in [&b""[..], b" \n", b"<html>no</html>", b"\x00\x01", b"\xff\xfe"] {
            assert_eq!(said(nothing), "", "{nothing:?}");
        }
        let long = said(&b"word ".repeat(1000));
        assert!(long.len() < 330 && long.ends_with("…\""), "{long}");
    }

    #[test]
    fn who_may_not_is_told_which_secret_to_pass() {
        let status = |status| HttpError::Status {
            url: "https://example.com/f".into(),
            host: "example.com".into(),
            status,
            said: said(b"go away"),
        };
        let text = status(403).to_string();
        assert!(text.contains("invalid response status 403: server says \"go away\""), "{text}");
        assert!(text.contains("HTTP_AUTH_TOKEN_example.com"), "{text}");
        assert!(!status(404).to_string().contains("HTTP_AUTH"));
    }
}
