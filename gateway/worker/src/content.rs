//! The content of a part of a mounted directory, as a digest.
//!
//! What counts, and how, is [`kiln_keys::contenthash`]'s; here is how a directory is looked at.
//! Digests of files are remembered by inode, size and times, so that unchanged files are read once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use kiln_keys::ContentQuery;
use kiln_keys::contenthash::{self, ChecksumError, FileKind, Header, Kind, Node, Origin, Tree};
use kiln_oci::{Digest, Hasher};

use crate::{scope, sys};

/// Why an entry cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("read {path}: {source}")]
pub(crate) struct ReadError {
    /// The entry, as the user knows it.
    path: String,
    /// What the system answered.
    source: io::Error,
}

/// The content digest of what a query asks of a directory; an absent one is the empty file system.
pub(crate) fn digest(
    root: Option<&Path>,
    origin: Origin,
    query: &ContentQuery,
) -> Result<Digest, ChecksumError<ReadError>> {
    contenthash::content(root.map(|root| Directory { root, origin }).as_ref(), query)
}

/// A mounted directory that does not change.
struct Directory<'a> {
    root: &'a Path,
    origin: Origin,
}

impl Directory<'_> {
    fn full(&self, path: &[u8]) -> PathBuf {
        // Joining an empty path would add a slash.
        if path.is_empty() { self.root.to_owned() } else { self.root.join(OsStr::from_bytes(path)) }
    }

    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> ReadError {
        let path = scope::shown(self.root, path);
        move |source| ReadError { path, source }
    }
}

impl Tree for Directory<'_> {
    type Mark = Metadata;
    type Error = ReadError;

    fn origin(&self) -> Origin {
        self.origin
    }

    fn look(&self, path: &[u8]) -> Result<Option<Node<Metadata>>, ReadError> {
        let path = self.full(path);
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_nothing(&error) => return Ok(None),
            Err(error) => return Err(self.failed(&path)(error)),
        };
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(self.failed(&path))?;
            Kind::Symlink(target.into_os_string().into_vec())
        } else {
            Kind::Other
        };
        Ok(Some(Node { kind, mark: metadata }))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, ReadError> {
        let path = self.full(path);
        let entries = std::fs::read_dir(&path).map_err(self.failed(&path))?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_vec()));
        names.collect::<io::Result<_>>().map_err(self.failed(&path))
    }

    fn digest(&self, path: &[u8], node: &Node<Metadata>) -> Result<Digest, ReadError> {
        let path = self.full(path);
        let digest = match node.mark.is_file() {
            true => file_digest(&path, &node.mark),
            false => header(&path, node).map(|header| header.digest()),
        };
        digest.map_err(self.failed(&path))
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn header(path: &Path, node: &Node<Metadata>) -> io::Result<Header> {
    let target = match &node.kind {
        Kind::Symlink(target) => target.clone(),
        _ => Vec::new(),
    };
    let (uid, gid) = kiln_store::owner::owner_of(path, &node.mark);
    let xattrs = sys::xattrs_that(path, |name| !sys::is_internal_xattr(name))?;
    Ok(Header {
        kind: kind(&node.mark),
        mode: node.mark.mode() & 0o7777,
        uid,
        gid,
        size: node.mark.len(),
        target,
        // Of a directory that is scanned, numbers of devices do not count.
        device: (0, 0),
        xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
    })
}

fn kind(metadata: &Metadata) -> FileKind {
    match metadata.file_type() {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_fifo() => FileKind::Fifo,
        kind if kind.is_char_device() => FileKind::CharDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

/// What identifies a file with its bytes and attributes as long as nobody rewrites it.
type FileKey = (u64, u64, u64, i64, i64, i64, i64);

/// Digests of files by what identifies them; bounded, and only a shortcut.
static KNOWN: LazyLock<Mutex<BTreeMap<FileKey, Digest>>> = LazyLock::new(Mutex::default);
const KNOWN_MAX: usize = 200_000;

fn file_digest(path: &Path, metadata: &Metadata) -> io::Result<Digest> {
    // Whatever changes an attribute changes the time of change, too.
    let key = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    if let Some(digest) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(digest.clone());
    }
    let node = Node { kind: Kind::Other, mark: metadata.clone() };
    let mut hasher = header(path, &node)?.hasher();
    feed(&mut hasher, path)?;
    let digest = hasher.finish();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(key, digest.clone());
    Ok(digest)
}

fn feed(hasher: &mut Hasher, path: &Path) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = [0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests;
