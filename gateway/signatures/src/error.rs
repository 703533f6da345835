//! Why something does not count as signed.

use std::io;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why something does not count as signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("git object is not signed")]
    NotSigned,
    /// It must be a tag that is signed, and is none.
    #[error("signed tag required but no signed tag found")]
    NoSignedTag,
    /// What is said to be a signature is none.
    #[error("invalid signature format: {0}")]
    Format(String),
    /// What is said to be an OpenPGP key is none.
    #[error("failed to read armored public key: {0}")]
    PgpKey(String),
    /// What is said to be a key of OpenSSH is none.
    #[error("failed to parse ssh public key: {0}")]
    SshKey(String),
    /// What is said to be a private key of OpenSSH is none that can be used.
    #[error("failed to read the private key: {0}")]
    SshPrivateKey(String),
    /// It may be right, but nothing here can tell, or nobody should rely on it.
    #[error(
        "{0} is not supported; use SHA-256 or more, with RSA of 2048 bits or more, Ed25519, P-256 or P-384"
    )]
    Unsupported(String),
    /// None of the given keys has made it.
    #[error("signature by {by}: none of the given keys is that key")]
    Foreign {
        /// What the signature says about its key.
        by: String,
    },
    /// The key did not sign these bytes.
    #[error("signature by {by}: it is not a signature of this content")]
    Wrong {
        /// The key.
        by: String,
    },
    /// The signature was good for some time only.
    #[error("signature by {by}: it expired at {}", shown(*at))]
    Expired {
        /// The key.
        by: String,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The signature will be made some day.
    #[error("signature by {by}: it is of the future ({})", shown(*at))]
    Future {
        /// The key.
        by: String,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The key was good for some time only.
    #[error("signature by {by}: the key expired at {}", shown(*at))]
    KeyExpired {
        /// The key.
        by: String,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The key is not, or no longer, what signs for its owner.
    #[error("signature by {by}: {why}")]
    KeyUnusable {
        /// The key.
        by: String,
        /// Why not.
        why: String,
    },
    /// It was signed for something else.
    #[error("signature by {by}: it is for {namespace:?}, not for {wanted:?}")]
    Namespace {
        /// The key.
        by: String,
        /// What it is for.
        namespace: String,
        /// What it should be for.
        wanted: &'static str,
    },
    /// An object of git is none, or another one.
    #[error("invalid git object: {0}")]
    Object(String),
    /// What was signed could not be read.
    #[error("cannot read what was signed")]
    Read(#[from] io::Error),
}

/// A time for people.
fn shown(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{seconds} seconds after 1970"))
}
