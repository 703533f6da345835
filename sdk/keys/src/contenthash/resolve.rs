//! Finding what a path means, symbolic links followed as if the root were `/`.

use super::checksum::ChecksumError;
use super::tree::{Kind, Node, Tree};

/// The most symbolic links one path may go through.
const MAX_LINKS: usize = 255;

/// Where a path leads, and what is there.
pub(super) struct Resolved<M> {
    /// Without links.
    pub(super) path: Vec<u8>,
    /// Nothing if the path leads nowhere.
    pub(super) node: Option<Node<M>>,
}

/// Follows a path, and with `follow_last` a symbolic link at its end too.
///
/// What does not exist, or is no directory, is passed through by text alone, so that `..` in the
/// target of a link leads out of it again.
pub(super) fn resolve<T: Tree>(
    tree: &T,
    path: &[u8],
    follow_last: bool,
) -> Result<Resolved<T::Mark>, ChecksumError<T::Error>> {
    let mut inside = Vec::new();
    let mut open = components(path);
    let mut node = look(tree, &inside)?;
    let mut links = 0;
    while let Some(part) = open.pop() {
        match part.as_slice() {
            b".." => pop(&mut inside),
            part => push(&mut inside, part),
        }
        node = look(tree, &inside)?;
        let Some(Kind::Symlink(target)) = node.as_ref().map(|node| &node.kind) else { continue };
        if open.is_empty() && !follow_last {
            break;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(ChecksumError::TooManyLinks);
        }
        match target.starts_with(b"/") {
            true => inside.clear(),
            false => pop(&mut inside),
        }
        open.extend(components(target));
        // A link to nothing at all means the directory it is in.
        node = look(tree, &inside)?;
    }
    Ok(Resolved { path: inside, node })
}

fn look<T: Tree>(tree: &T, path: &[u8]) -> Result<Option<Node<T::Mark>>, ChecksumError<T::Error>> {
    tree.look(path).map_err(ChecksumError::Tree)
}

/// The components of a path, last first, so that they can be taken from the end.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !matches!(*part, b"" | b".")).rev().map(<[u8]>::to_vec).collect()
}

/// Adds a name to a path.
pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Takes the last name from a path.
pub(super) fn pop(path: &mut Vec<u8>) {
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
}
