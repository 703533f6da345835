//! How a vertex is keyed, as plain values, and the digests that records have in a cache.

use kiln_oci::Digest;

use crate::content::ContentQuery;

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
    /// Over the paths, joined by NUL.
    pub digest: Digest,
    /// The paths, in the order in which they were hashed.
    pub paths: Vec<String>,
}

/// Why an op has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A part without which the op means nothing.
    #[error("an op without {0} has no cache key")]
    Missing(&'static str),
    /// An input that the vertex does not have.
    #[error("invalid input index {index} in {op} op with {inputs} inputs")]
    Input {
        /// The kind of op.
        op: &'static str,
        /// The input.
        index: i64,
        /// How many there are.
        inputs: usize,
    },
    /// A mount that asks to be keyed by content although the process may see more than its part.
    #[error("invalid mount cache content: the mount at {0} is written and shows only a part")]
    ContentCache(String),
    /// An attribute of a source that makes no sense.
    #[error("invalid source attribute {key} `{value}`")]
    Attribute {
        /// The attribute.
        key: &'static str,
        /// Its value, as far as it is worth repeating.
        value: String,
    },
    /// What was found does not belong to the source it was found for.
    #[error("what was found is not of the kind of the source `{0}`")]
    Found(String),
    /// An image has fewer layers than are wanted of it.
    #[error("image has {layers} layers, limit is {limit}")]
    LayerLimit {
        /// How many it has.
        layers: usize,
        /// How many are wanted.
        limit: usize,
    },
    /// The config of an image is no JSON, so its layers are not known.
    #[error("failed to parse image config")]
    Config,
}

impl CacheMap {
    /// A map whose inputs count by how they were made, and as a whole.
    pub fn plain(digest: Digest, inputs: usize) -> Self {
        Self { digest, session_scoped: false, deps: vec![Dep::default(); inputs] }
    }

    /// The digest as BuildKit spells it.
    pub fn digest_text(&self) -> String {
        match self.session_scoped {
            true => format!("random:{}", self.digest.hex()),
            false => self.digest.to_string(),
        }
    }

    /// The digest of a record for one output of the vertex.
    pub fn record(&self, output: usize) -> Digest {
        Digest::sha256(format!("{}@{output}", self.digest_text()))
    }
}

impl PathSelector {
    pub(crate) fn new(paths: Vec<String>) -> Self {
        Self { digest: Digest::sha256(paths.join("\0")), paths }
    }
}

/// The digest of the record that stands for an input by its content.
pub fn content_record(content: &Digest) -> Digest {
    Digest::sha256(format!("{content}@-1"))
}
