//! Bytes in JSON: as text where they are text, so that people can read a recording.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Blob {
    /// They are UTF-8.
    Text(String),
    /// They are anything else.
    Binary {
        /// The bytes.
        base64: String,
    },
}

impl Blob {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { base64: STANDARD.encode(bytes) },
        }
    }

    /// The bytes; none if somebody has spoilt them.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::from(text.clone()),
            Self::Binary { base64 } => STANDARD.decode(base64).unwrap_or_default().into(),
        }
    }
}
