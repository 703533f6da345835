//! The addresses of records, and what leads from one to the next.
//!
//! A key is a sum over fixed texts, so it is the same on every machine and after every restart, and
//! the same as BuildKit's: `sha256("<digest>@<output>")` for an output of an operation that is known
//! by its digest alone, `sha256("<digest>@-1")` for a content. Records whose operation has inputs are
//! found by what leads to them, so their keys need not mean anything elsewhere; they are sums as
//! well, so that the same way gives the same key.

use std::fmt;

use kiln_keys::{CacheMap, content_record};
use kiln_oci::{Digest, Hasher};

/// A sha256 sum as bytes: half the size of its text, and copied for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(pub(crate) [u8; 32]);

impl Sum {
    /// The sum of a digest. One that is not sha256 is hashed once more.
    pub fn of(digest: &Digest) -> Self {
        let mut sum = [0; 32];
        match digest.algorithm() {
            "sha256" if hex::decode_to_slice(digest.hex(), &mut sum).is_ok() => Self(sum),
            _ => Self::of(&Digest::sha256(digest.as_str())),
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The address of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    pub(crate) scope: Scope,
    pub(crate) sum: Sum,
}

/// What a key is made of, hence how far it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// The digest of an operation or a content: the same for everyone.
    Digest,
    /// A digest within one session.
    Session,
    /// What leads to the record: a name within one cache.
    Links,
}

impl CacheKey {
    /// One output of an operation as far as its inputs do not matter. If it has none, that is the key
    /// of its result.
    pub fn operation(map: &CacheMap, output: usize) -> Self {
        match map.session_scoped {
            true => Self::session(&map.digest),
            false => Self::of_digest(&map.record(output)),
        }
    }

    /// A content, whatever made it.
    pub fn content(digest: &Digest) -> Self {
        Self::of_digest(&content_record(digest))
    }

    /// An operation whose digest means nothing beyond one session.
    pub fn session(digest: &Digest) -> Self {
        Self { scope: Scope::Session, sum: Sum::of(digest) }
    }

    /// The key of a record that is known by what leads to it: the first known way to each input.
    ///
    /// The order of the keys of one input does not matter.
    pub fn derived(operation: Self, inputs: &[Vec<InputKey>]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update("kiln record\0");
        hasher.update(operation.sum.0);
        for keys in inputs {
            let mut keys: Vec<_> = keys.iter().collect();
            keys.sort_unstable();
            hasher.update(u32::try_from(keys.len()).unwrap_or(u32::MAX).to_be_bytes());
            for key in keys {
                hasher.update(key.record.sum.0);
                hasher.update([u8::from(key.selector.is_some())]);
                hasher.update(key.selector.map_or([0; 32], |selector| selector.0));
            }
        }
        Self { scope: Scope::Links, sum: Sum::of(&hasher.finish()) }
    }

    /// The key that a digest is, as exported caches name records.
    pub fn of_digest(digest: &Digest) -> Self {
        Self { scope: Scope::Digest, sum: Sum::of(digest) }
    }

    /// Whether it is a digest that means the same to everyone.
    pub(crate) fn is_digest(self) -> bool {
        self.scope == Scope::Digest
    }

    /// Whether it means nothing beyond one session: it is never looked up, saved or exported.
    pub fn is_session_scoped(self) -> bool {
        self.scope == Scope::Session
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Digest => write!(f, "sha256:{}", self.sum),
            Scope::Session => write!(f, "random:{}", self.sum),
            Scope::Links => write!(f, "record:{}", self.sum),
        }
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Digest => write!(f, "{:?}", self.sum),
            Scope::Session => write!(f, "random:{:?}", self.sum),
            Scope::Links => write!(f, "record:{:?}", self.sum),
        }
    }
}

/// A record as the input of an operation: which, and what is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputKey {
    /// The record.
    pub record: CacheKey,
    /// What is read of it; `None` for all of it, and for a content.
    pub selector: Option<Sum>,
}

/// How one record leads to another: from the result of an input to the result of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The number of the input.
    pub input: u32,
    /// The operation and its output, by [`CacheKey::operation`].
    pub operation: CacheKey,
    /// What is read of the input.
    pub selector: Option<Sum>,
}
