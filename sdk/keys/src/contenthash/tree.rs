//! What is asked of a file system.

use kiln_oci::Digest;

/// A file system, as far as its content is asked for.
///
/// Paths are relative to its root, clean and in bytes, `a/b`; the root is empty. No path that is
/// asked for leads through a symbolic link: every directory above was looked at before and was none.
/// Nothing may change while one question is answered.
pub trait Tree {
    /// What a look found besides, to be shown again when the digest is wanted.
    type Mark;
    /// Why an entry cannot be looked at.
    type Error;

    /// Where the entries come from.
    fn origin(&self) -> Origin;

    /// What is at a path, itself and not what it points to; nothing if there is nothing, also below
    /// what is no directory. The root is a directory.
    ///
    /// # Errors
    ///
    /// If it cannot be told.
    fn look(&self, path: &[u8]) -> Result<Option<Node<Self::Mark>>, Self::Error>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// The digest of one entry by itself: of its [`Header`](super::Header), and the bytes of a file.
    ///
    /// # Errors
    ///
    /// If the entry cannot be read.
    fn digest(&self, path: &[u8], node: &Node<Self::Mark>) -> Result<Digest, Self::Error>;
}

/// Where the entries of a tree come from, which decides about the root's own attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Found in a directory.
    Scanned,
    /// Sent by a client, which tells nothing about the root.
    Sent,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<M> {
    /// What it is.
    pub kind: Kind,
    /// What the tree noted about it.
    pub mark: M,
}

/// What matters of an entry for finding the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link with what it says.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}
