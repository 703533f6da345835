//! What the store notes about the things it keeps: their kind, and what they are for.
//!
//! Plain words, written into the index and shown by `kiln du`.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// What a record holds; policies of collection tell records apart by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The result of a build step.
    #[default]
    #[serde(rename = "regular")]
    Regular,
    /// An image that has a name, which others are told is `regular`, as the API knows no images.
    #[serde(rename = "image")]
    Image,
    /// Something Kiln needs for itself; pruned only with `all`.
    #[serde(rename = "internal")]
    Internal,
    /// The image of a frontend; pruned only with `all`.
    #[serde(rename = "frontend")]
    Frontend,
    /// The working copy of a client's directory.
    #[serde(rename = "source.local")]
    SourceLocal,
    /// A clone of a git repository, or a checkout of it.
    #[serde(rename = "source.git.checkout")]
    SourceGitCheckout,
    /// The directory of a cache mount.
    #[serde(rename = "exec.cachemount")]
    ExecCacheMount,
}

/// The names of all kinds, as filters and the Control API spell them.
const NAMES: &[(Kind, &str)] = &[
    (Kind::Regular, "regular"),
    (Kind::Internal, "internal"),
    (Kind::Frontend, "frontend"),
    (Kind::SourceLocal, "source.local"),
    (Kind::SourceGitCheckout, "source.git.checkout"),
    (Kind::ExecCacheMount, "exec.cachemount"),
];

impl Kind {
    /// The name used by filters, policies and the Control API.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("regular", |(_, name)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a type of cache record")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| UnknownKind(text.chars().take(80).collect()))
    }
}

/// What to note about a ref that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordInfo {
    /// What it holds.
    pub kind: Kind,
    /// For people, such as `mount / from exec /bin/sh -c make`.
    pub description: String,
}

/// Who else may use a long-lived directory at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody, at once.
    #[default]
    Shared,
    /// Nobody; who finds it busy gets another directory.
    Private,
    /// Nobody; who finds it busy waits.
    Locked,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds since 1970.
pub(crate) fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}
