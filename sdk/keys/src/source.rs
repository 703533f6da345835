//! How sources are keyed: by what was found outside, never by where it was found.
//!
//! Each kind has a struct with all that its key is made of. Who has resolved a source fills it in;
//! who has only the op and what was found asks [`maps`].

mod blob;
mod git;
mod http;
mod image;
mod local;
mod op;

use std::fmt;

use kiln_oci::Digest;

use crate::map::CacheMap;

pub use blob::{BlobKey, blob_filename};
pub use git::{GitKey, is_commit_id};
pub use http::{HttpKey, filename};
pub use image::{ImageKey, image_content};
pub use local::LocalKey;
pub use op::{Found, maps};

/// What identifies the content of a source, as BuildKit spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(String);

impl SourceKey {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means something to one session only.
    pub fn is_session_scoped(&self) -> bool {
        self.0.starts_with("session:")
    }

    /// How a vertex with this key is keyed.
    pub fn map(&self) -> CacheMap {
        let digest = Digest::sha256(format!("buildkit.source.v0:{}", self.0));
        CacheMap { digest, session_scoped: self.is_session_scoped(), deps: Vec::new() }
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
