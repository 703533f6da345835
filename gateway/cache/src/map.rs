//! How one vertex is keyed.

use kiln_oci::Digest;

/// How one vertex is keyed: its own digest, and what counts of each input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMap {
    /// What the vertex does, without its inputs.
    pub digest: Digest,
    /// For vertices without inputs: what they are by content, where that is known without running
    /// them. An image's layers are the same although its manifest changed.
    pub content: Option<Digest>,
    /// One entry per input.
    pub deps: Vec<CacheDep>,
    /// The digest means nothing beyond this build (files of a session): results are not kept.
    pub volatile: bool,
}

impl CacheMap {
    /// A map for a vertex whose inputs count by their own keys.
    pub fn new(digest: Digest, inputs: usize) -> Self {
        Self { digest, content: None, deps: vec![CacheDep::default(); inputs], volatile: false }
    }
}

/// What counts of one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheDep {
    /// Which part of the input is read; part of the key.
    pub selector: Option<Digest>,
    /// The input counts by the content of that part rather than by how it was made.
    pub by_content: bool,
}
