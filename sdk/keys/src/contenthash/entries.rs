//! A tree that is told about its entries one by one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use kiln_oci::Digest;

use super::header::{FileKind, Header};
use super::tree::{Kind, Node, Origin, Tree};

/// A file system of which only the digests are known: what a client sends, or a test makes up.
///
/// Directories must be put in before what is in them. A question costs a search per entry.
#[derive(Clone, Debug)]
pub struct Entries {
    origin: Origin,
    root: Digest,
    /// By path with NUL for `/`, so that what is below a directory comes right behind it.
    entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    digest: Digest,
}

impl Entries {
    /// An empty tree whose root is root's, with mode 0755.
    pub fn new(origin: Origin) -> Self {
        let root = Header { kind: FileKind::Directory, mode: 0o755, ..Header::default() };
        Self { origin, root: root.digest(), entries: BTreeMap::new() }
    }

    /// Gives the root other attributes, by its [`Header::digest`].
    pub fn set_root(&mut self, digest: Digest) {
        self.root = digest;
    }

    /// Puts an entry at a path, with the digest of its header and of its bytes, if it is a file. What
    /// was below goes, unless it stays a directory.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, kind: Kind, digest: Digest) {
        let key = key(path.as_ref());
        if kind != Kind::Directory {
            self.remove(path);
        }
        self.entries.insert(key, Entry { kind, digest });
    }

    /// Puts an entry whose bytes are at hand.
    pub fn insert_with(&mut self, path: impl AsRef<[u8]>, header: &Header, bytes: &[u8]) {
        let kind = match header.kind {
            FileKind::Directory => Kind::Directory,
            FileKind::Symlink => Kind::Symlink(header.target.clone()),
            _ => Kind::Other,
        };
        let mut hasher = header.hasher();
        hasher.update(bytes);
        self.insert(path, kind, hasher.finish());
    }

    /// Makes a path another name of an entry. Whether there is such an entry.
    pub fn link(&mut self, path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> bool {
        let Some(entry) = self.entries.get(&key(to.as_ref())).cloned() else { return false };
        self.insert(path, entry.kind, entry.digest);
        true
    }

    /// Takes an entry away with all that is below it.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) {
        let key = key(path.as_ref());
        self.entries.remove(&key);
        let below = [key.as_slice(), b"\0"].concat();
        let range = self.entries.range(below.clone()..);
        let gone = range.take_while(|(key, _)| key.starts_with(&below));
        for key in gone.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.entries.remove(&key);
        }
    }
}

fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

impl Tree for Entries {
    type Mark = Digest;
    type Error = Infallible;

    fn origin(&self) -> Origin {
        self.origin
    }

    fn look(&self, path: &[u8]) -> Result<Option<Node<Digest>>, Infallible> {
        if path.is_empty() {
            return Ok(Some(Node { kind: Kind::Directory, mark: self.root.clone() }));
        }
        let entry = self.entries.get(&key(path));
        Ok(entry.map(|entry| Node { kind: entry.kind.clone(), mark: entry.digest.clone() }))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Infallible> {
        let mut prefix = key(path);
        if !prefix.is_empty() {
            prefix.push(0);
        }
        let mut names = Vec::new();
        let mut from = Bound::Included(prefix.clone());
        while let Some((key, _)) = self.entries.range((from, Bound::Unbounded)).next()
            && let Some(rest) = key.strip_prefix(prefix.as_slice())
        {
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            names.push(name.to_vec());
            // Everything below the name begins with it and NUL.
            from = Bound::Included([prefix.as_slice(), name, b"\x01"].concat());
        }
        Ok(names)
    }

    fn digest(&self, _: &[u8], node: &Node<Digest>) -> Result<Digest, Infallible> {
        Ok(node.mark.clone())
    }
}
