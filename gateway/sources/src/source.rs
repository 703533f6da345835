//! What every source has in common: a pin first, then the content.
//!
//! A pin says what the content will be, in a form that is part of a cache key, without fetching
//! more than needed for that. Many pins are answered by the cache and never fetched.

use std::error::Error;
use std::time::SystemTime;

use bytes::Bytes;
use kiln_keys::source::SourceKey;
use kiln_oci::{Digest, Reference};
use kiln_progress::{Part, Sender};
use kiln_store::{Ref, Requester};

use crate::blob::BlobSourceError;
use crate::git::{GitError, GitPin};
use crate::http::{HttpError, HttpPin};
use crate::image::{ImageError, ImagePin};
use crate::local::{LocalError, LocalPin};
use crate::session::Session;

/// What a source may use while it works.
#[derive(Clone)]
pub struct Context {
    /// The client: its secrets, credentials and directories.
    pub session: std::sync::Arc<dyn Session>,
    /// Where to tell what happens.
    pub progress: Sender,
    /// The vertex it happens to.
    pub vertex: Digest,
    /// The version of BuildKit's behaviour that the content is to have, by BuildKit's own numbers (0
    /// stands for the newest); `None` if several builds wait for it that do not want the same.
    pub compatibility: Option<i64>,
}

impl Context {
    /// Shows that a part of the vertex began; it ends with the value. `total` is 0 if it is not known.
    pub(crate) fn begin(&self, id: impl Into<String>, total: u64) -> Part {
        Part::begin(&self.progress, &self.vertex, id, total)
    }

    /// Shows that something of a size that is not known begins to come.
    pub(crate) fn transfer(&self, id: impl Into<String>) -> Part {
        Part::transfer(&self.progress, &self.vertex, id)
    }

    /// The same as the store sees it, for what is fetched at once in the name of the session.
    pub(crate) fn requester(&self) -> Requester {
        let (vertex, progress) = (self.vertex.clone(), self.progress.clone());
        Requester { sessions: Vec::new(), vertex, progress }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("vertex", &self.vertex).finish_non_exhaustive()
    }
}

/// What identifies the content of a source.
#[derive(Clone, Debug)]
pub struct Pin {
    /// What the vertex is keyed by.
    pub key: SourceKey,
    /// A second key that different pins with the same content share: of an image, the chain of its
    /// layers.
    pub content_key: Option<SourceKey>,
    /// What was found out on the way, for provenance and for who only asked.
    pub metadata: Metadata,
    pub(crate) content: Content,
}

impl Pin {
    /// Whether the key means something to this session only.
    pub fn is_session_only(&self) -> bool {
        self.key.is_session_scoped()
    }
}

/// What was found out about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// About an image.
    Image {
        /// With the digest of what the name named: an index or a manifest.
        reference: Reference,
        /// The manifest of the platform.
        manifest: Digest,
        /// The image config, as it came.
        config: Bytes,
    },
    /// About a single blob.
    Blob {
        /// Its digest.
        digest: Digest,
    },
    /// About a file by URL.
    Http {
        /// Its digest.
        digest: Digest,
        /// Its name.
        filename: String,
        /// When it was changed last, if the server says so.
        last_modified: Option<SystemTime>,
    },
    /// About a git repository.
    Git {
        /// The full name of the reference, such as `refs/heads/main`; a commit is its own name.
        reference: String,
        /// The object it points to: a commit, or an annotated tag.
        checksum: String,
        /// The commit, if `checksum` is a tag.
        commit_checksum: Option<String>,
    },
    /// About a directory of the client: nothing.
    Local,
}

/// A commit and the tag that names it, as git stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitObjects {
    /// The commit that the tag names; `None` without a tag.
    pub commit_checksum: Option<String>,
    /// The commit.
    pub commit: Bytes,
    /// The annotated tag, if there is one.
    pub tag: Option<Bytes>,
}

/// What fetching needs to know from pinning.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Image(Box<ImagePin>),
    Blob,
    Http(HttpPin),
    Git(GitPin),
    Local(LocalPin),
}

/// Why a source could not be pinned or fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An image of a registry or an OCI layout.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A single blob of a registry or an OCI layout.
    #[error(transparent)]
    Blob(#[from] BlobSourceError),
    /// A file by URL.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A directory of the client.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The pin belongs to another kind of source.
    #[error("the pin is of another kind than the source it is fetched for")]
    Mixed,
}

/// Any error beneath, for variants that do not care.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// What fetching gives: nothing stands for an image without layers.
pub type Fetched = Option<Ref>;
