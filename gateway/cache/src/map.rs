//! How one vertex is keyed, as plain values.

use kiln_oci::Digest;

use crate::{CacheKey, Sum};

/// How one vertex is keyed: its own digest, and what counts of each input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMap {
    /// What the vertex does, whatever its inputs are.
    pub digest: Digest,
    /// The digest means nothing beyond one session, as of a client's directory. BuildKit spells it
    /// `random:` then, and never exports a record of it.
    pub session_scoped: bool,
    /// One entry per input of the vertex, in order.
    pub deps: Vec<Dep>,
}

/// What counts of one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dep {
    /// Which part of the input is read. It belongs to the link from a definition-based key of the
    /// input; a content-based key is linked without it.
    pub selector: Option<PathSelector>,
    /// What to compute the content digest of, where that may stand for the input.
    pub content: Option<ContentQuery>,
    /// The layers of the input must be there before anything is done with it.
    pub preprocess: bool,
}

/// Paths, and the digest that stands for them in a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSelector {
    /// Over the paths.
    pub digest: Digest,
    /// The paths, in the order in which they were hashed.
    pub paths: Vec<String>,
}

/// What to compute the content digest of: one or several parts of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentQuery {
    /// The parts.
    pub selectors: Vec<Selector>,
}

/// One part of a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Where; `/` is everything.
    pub path: String,
    /// The path is a pattern.
    pub wildcard: bool,
    /// A symbolic link at the path stands for what it points to.
    pub follow_links: bool,
    /// Only what fits one of these, relative to the path.
    pub include: Vec<String>,
    /// Not what fits one of these.
    pub exclude: Vec<String>,
    /// At least one included path begins with each of these.
    pub required_paths: Vec<String>,
}

impl CacheMap {
    /// A map whose inputs count by how they were made, and as a whole.
    pub fn plain(digest: Digest, inputs: usize) -> Self {
        Self { digest, session_scoped: false, deps: vec![Dep::default(); inputs] }
    }

    /// The key of one output of the vertex, as far as the inputs do not matter. For a vertex without
    /// inputs that is the key of its result.
    pub fn key(&self, output: usize) -> CacheKey {
        match self.session_scoped {
            true => CacheKey::session(&self.digest),
            false => CacheKey::output(&self.digest, output),
        }
    }
}

impl Dep {
    /// The selector as it is in links.
    pub fn link_selector(&self) -> Option<Sum> {
        self.selector.as_ref().map(|selector| Sum::of(&selector.digest))
    }
}
