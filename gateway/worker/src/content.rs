//! The content of a part of a mounted directory, as a digest.
//!
//! What counts, and how, is [`kiln_keys::contenthash`]'s; here is how a directory is looked at.
//! Digests of files are remembered by inode, size and times, so that unchanged files are read once.
//! What was looked at is listed on the way, for those who want to know later what has changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use kiln_container::scope;
use kiln_keys::ContentQuery;
use kiln_keys::contenthash::{self, ChecksumError, FileKind, Header, Kind, Node, Origin, Tree};
use kiln_oci::Digest;
use kiln_why::listing::{Entry, Writer};

use crate::sys;

/// Why an entry cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("read {path}: {source}")]
pub(crate) struct ReadError {
    /// The entry, as the user knows it.
    path: String,
    /// What the system answered.
    source: io::Error,
}

/// The content digest of what a query asks of a directory, with a list of what was looked at; an absent
/// one is the empty file system.
pub(crate) fn digest(
    root: Option<&Path>,
    origin: Origin,
    query: &ContentQuery,
) -> Result<(Digest, Vec<u8>), ChecksumError<ReadError>> {
    let directory = root.map(|root| Directory { root, origin, listing: RefCell::default() });
    let digest = contenthash::content(directory.as_ref(), query)?;
    let listing = directory.map(|directory| directory.listing.into_inner().finish());
    Ok((digest, listing.unwrap_or_default()))
}

/// A mounted directory that does not change.
struct Directory<'a> {
    root: &'a Path,
    origin: Origin,
    listing: RefCell<Writer>,
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
        let full = self.full(path);
        let seen = seen(&full, node).map_err(self.failed(&full))?;
        self.listing.borrow_mut().add(path, &seen.entry);
        Ok(seen.digest)
    }
}

/// What is seen of an entry of a directory.
pub(crate) fn look(path: &Path, metadata: &Metadata) -> io::Result<Entry> {
    let kind = match metadata.is_symlink() {
        true => Kind::Symlink(std::fs::read_link(path)?.into_os_string().into_vec()),
        false => Kind::Other,
    };
    seen(path, &Node { kind, mark: metadata.clone() }).map(|seen| seen.entry)
}

fn seen(path: &Path, node: &Node<Metadata>) -> io::Result<Seen> {
    match node.mark.is_file() {
        true => file(path, &node.mark),
        false => header(path, node).map(|header| Seen::new(&header, header.digest(), 0)),
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

/// What was seen of an entry.
#[derive(Clone)]
struct Seen {
    digest: Digest,
    entry: Entry,
}

impl Seen {
    /// `sum` is the checksum of the bytes alone.
    fn new(header: &Header, digest: Digest, sum: u32) -> Self {
        let mut bytes = [0; 32];
        // A sha256 digest is 64 digits.
        hex::decode_to_slice(digest.hex(), &mut bytes).ok();
        let Header { kind, mode, uid, gid, ref target, .. } = *header;
        let size = if kind == FileKind::File { header.size } else { 0 };
        let target = target.clone();
        Self { digest, entry: Entry { kind, mode, uid, gid, size, target, sum, digest: bytes } }
    }
}

/// What was seen of files, by what identifies them; bounded, and only a shortcut.
static KNOWN: LazyLock<Mutex<BTreeMap<FileKey, Seen>>> = LazyLock::new(Mutex::default);
const KNOWN_MAX: usize = 200_000;
/// How many bytes of a file are read at a time.
const PIECE: usize = 64 << 10;

fn file(path: &Path, metadata: &Metadata) -> io::Result<Seen> {
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
    if let Some(seen) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(seen.clone());
    }
    let node = Node { kind: Kind::Other, mark: metadata.clone() };
    let header = header(path, &node)?;
    let (mut hasher, mut sum) = (header.hasher(), flate2::Crc::new());
    feed(path, metadata.len(), |bytes| {
        hasher.update(bytes);
        sum.update(bytes);
    })?;
    let seen = Seen::new(&header, hasher.finish(), sum.sum());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(key, seen.clone());
    Ok(seen)
}

fn feed(path: &Path, size: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    // With room for one byte more than there is, so that one call reads a small file and sees its end.
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(PIECE - 1) + 1];
    loop {
        let read = file.read(&mut buffer)?;
        take(&buffer[..read]);
        // A regular file gives less than it is asked for at its end alone.
        if read < buffer.len() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
