//! Answering what the content of a part of a file system is.

use kiln_oci::{Digest, Hasher};
use kiln_paths::PatternError;

use super::filtered::filtered;
use super::resolve::{pop, push, resolve};
use super::tree::{Kind, Node, Origin, Tree};
use crate::content::{ContentQuery, Selector, rooted};

/// Why a part of a file system has no content digest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumError<E> {
    /// There is nothing at the path.
    #[error("{0:?}: not found")]
    NotFound(String),
    /// There is nothing at all, other than the root.
    #[error("{0}: no such file or directory")]
    Nothing(String),
    /// A path goes through too many symbolic links, or in circles.
    #[error("too many links")]
    TooManyLinks,
    /// A path with wildcards is malformed.
    #[error("syntax error in pattern")]
    Wildcard,
    /// An include or exclude pattern is malformed.
    #[error("invalid {list}: [{}]: {}", patterns.join(" "), reason(.source))]
    Patterns {
        /// `includepatterns` or `excludepatterns`.
        list: &'static str,
        /// The patterns.
        patterns: Vec<String>,
        /// What is wrong.
        source: PatternError,
    },
    /// An entry cannot be looked at.
    #[error(transparent)]
    Tree(E),
}

/// A malformed pattern in Go's words; which one it is can be seen in the list.
fn reason(error: &PatternError) -> String {
    match error {
        PatternError::Syntax(_) => "syntax error in pattern".to_owned(),
        other => other.to_string(),
    }
}

/// The content digest of everything that a query asks for; an absent tree is the empty file system.
///
/// # Errors
///
/// [`ChecksumError`], of the first selector that has no answer.
pub fn content<T: Tree>(
    tree: Option<&T>,
    query: &ContentQuery,
) -> Result<Digest, ChecksumError<T::Error>> {
    let mut hasher = Hasher::default();
    for (number, selector) in query.selectors.iter().enumerate() {
        if number > 0 {
            hasher.update("\0");
        }
        let digest = match tree {
            Some(tree) => checksum(tree, selector)?,
            None => nothing(selector)?,
        };
        hasher.update(digest.as_str());
    }
    Ok(hasher.finish())
}

/// Of the empty file system only the root can be asked for.
fn nothing<E>(selector: &Selector) -> Result<Digest, ChecksumError<E>> {
    match selector.path.as_str() {
        "/" => Ok(Digest::sha256("")),
        path => Err(ChecksumError::Nothing(path.to_owned())),
    }
}

/// The content digest of one part of a tree.
///
/// Linear in the entries looked at: those below the path, as far as patterns do not rule them out,
/// and those on the way to it. Holds the names of the directories between the root and the entry at
/// hand, and nothing else that grows.
///
/// # Errors
///
/// [`ChecksumError::NotFound`] if nothing is at a path without wildcards and patterns, which is how
/// BuildKit notices that a file to be copied is missing; patterns that fit nothing have the digest of
/// no bytes.
pub fn checksum<T: Tree>(tree: &T, selector: &Selector) -> Result<Digest, ChecksumError<T::Error>> {
    match selector.is_filtered() {
        true => filtered(tree, selector),
        false => plain(tree, selector.path.as_bytes(), selector.follow_links),
    }
}

/// The digest of what is at a path as it is: a file, a link, or a directory with all that is in it.
pub(super) fn plain<T: Tree>(
    tree: &T,
    path: &[u8],
    follow: bool,
) -> Result<Digest, ChecksumError<T::Error>> {
    let found = resolve(tree, path, follow)?;
    match found.node {
        Some(node) if node.kind == Kind::Directory => contents(tree, found.path, node),
        Some(node) => own(tree, &found.path, &node),
        None => Err(missing(path)),
    }
}

fn missing<E>(path: &[u8]) -> ChecksumError<E> {
    ChecksumError::NotFound(rooted(&String::from_utf8_lossy(path)))
}

/// The digest of an entry by itself.
pub(super) fn own<T: Tree>(
    tree: &T,
    path: &[u8],
    node: &Node<T::Mark>,
) -> Result<Digest, ChecksumError<T::Error>> {
    // A client tells nothing about the root; only if it told nothing at all, what it sent is scanned.
    let untold = path.is_empty()
        && tree.origin() == Origin::Sent
        && !tree.names(path).map_err(ChecksumError::Tree)?.is_empty();
    match untold {
        true => Ok(Digest::sha256("")),
        false => tree.digest(path, node).map_err(ChecksumError::Tree),
    }
}

/// A directory on the way down, whose digest is not complete.
struct Open {
    hasher: Hasher,
    names: std::vec::IntoIter<Vec<u8>>,
}

impl Open {
    fn new<T: Tree>(
        tree: &T,
        path: &[u8],
        node: &Node<T::Mark>,
    ) -> Result<Self, ChecksumError<T::Error>> {
        let mut hasher = Hasher::default();
        hasher.update("\0");
        hasher.update(own(tree, path, node)?.as_str());
        Ok(Self { hasher, names: sorted_names(tree, path)?.into_iter() })
    }
}

pub(super) fn sorted_names<T: Tree>(
    tree: &T,
    path: &[u8],
) -> Result<Vec<Vec<u8>>, ChecksumError<T::Error>> {
    let mut names = tree.names(path).map_err(ChecksumError::Tree)?;
    names.sort_unstable();
    Ok(names)
}

/// The digest of a directory with all that is in it. Trees may be deeper than the stack, so the way
/// down is a list.
fn contents<T: Tree>(
    tree: &T,
    mut path: Vec<u8>,
    node: Node<T::Mark>,
) -> Result<Digest, ChecksumError<T::Error>> {
    let mut inner = Open::new(tree, &path, &node)?;
    let mut outer: Vec<Open> = Vec::new();
    loop {
        let Some(name) = inner.names.next() else {
            let digest = inner.hasher.finish();
            let Some(above) = outer.pop() else { return Ok(digest) };
            pop(&mut path);
            inner = above;
            inner.hasher.update(digest.as_str());
            continue;
        };
        push(&mut path, &name);
        let node = tree.look(&path).map_err(ChecksumError::Tree)?.ok_or_else(|| missing(&path))?;
        inner.hasher.update("\0");
        inner.hasher.update(&name);
        if node.kind == Kind::Directory {
            outer.push(std::mem::replace(&mut inner, Open::new(tree, &path, &node)?));
        } else {
            inner.hasher.update(own(tree, &path, &node)?.as_str());
            pop(&mut path);
        }
    }
}
