//! The two keys of a result.
//!
//! The *definition key* follows from what the vertices do, so it is known before anything runs. The
//! *content key* needs more: inputs that count by content have been looked at. A result is saved
//! under both. An unchanged definition is found by the first; when something upstream changed but
//! what is read of it did not, the result is found by the second. Both are sums over fixed texts, so
//! they are the same on every machine and after every restart.

use std::fmt;

use kiln_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::CacheMap;

/// The address of a result in a cache.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.short())
    }
}

/// What one input contributes to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKey<'a> {
    /// How it was made, and which output of that is read.
    Made(&'a CacheKey, usize),
    /// What is in it.
    Content(&'a Digest),
}

/// The definition key: what the vertex does on inputs that are known by definition.
pub fn definition_key(map: &CacheMap, inputs: &[InputKey<'_>]) -> CacheKey {
    sum("definition", &map.digest, map, inputs)
}

/// The content key: the same, with inputs by content where the map says so.
pub fn content_key(map: &CacheMap, inputs: &[InputKey<'_>]) -> CacheKey {
    sum("content", map.content.as_ref().unwrap_or(&map.digest), map, inputs)
}

/// A content key that no earlier build can have: for vertices that must run again, so that whatever
/// reads them does not find what it made of the old result.
pub fn fresh_key(key: &CacheKey, unique: &str) -> CacheKey {
    CacheKey(Digest::sha256(format!("fresh\n{}\n{unique}\n", key.as_str())))
}

fn sum(kind: &str, digest: &Digest, map: &CacheMap, inputs: &[InputKey<'_>]) -> CacheKey {
    let mut hasher = Hasher::default();
    hasher.update(format!("kiln.cache.v1 {kind}\n{digest}\n"));
    for (dep, input) in map.deps.iter().zip(inputs) {
        let selector = dep.selector.as_ref().map_or("-", Digest::as_str);
        hasher.update(match input {
            InputKey::Made(key, output) => format!("made {} {output} {selector}\n", key.as_str()),
            InputKey::Content(digest) => format!("content {digest} {selector}\n"),
        });
    }
    CacheKey(hasher.finish())
}
