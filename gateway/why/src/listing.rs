//! A list of files that were looked at for a content digest: what was seen of each.
//!
//! Written while the digest is computed, in the order of the walk, so it costs one copy of each name;
//! paths are shortened by what they share with the one before. What is read back is not trusted: a
//! list that is none is an error.

use std::collections::BTreeMap;

use kiln_keys::contenthash::FileKind;
use kiln_oci::Digest;

use crate::explanation::FileChange;

/// A list is not longer than this, in bytes; what comes after is left out.
pub const LARGEST: usize = 4 << 20;

/// Begins every list.
const MAGIC: &[u8] = b"kiln listing 1\n";

/// What is seen of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, with the bits 07000.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The bytes of a file.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// A checksum of the bytes of a file alone, by which other bytes are told from other attributes.
    pub sum: u32,
    /// The digest of its attributes and its bytes.
    pub digest: [u8; 32],
}

/// A list that is being written.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    last: Vec<u8>,
    is_cut: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: MAGIC.to_vec(), last: Vec::new(), is_cut: false }
    }
}

impl Writer {
    /// Adds an entry by its path, relative to the root.
    pub fn add(&mut self, path: &[u8], entry: &Entry) {
        if self.is_cut || self.bytes.len() + path.len() + entry.target.len() + 128 > LARGEST {
            self.is_cut = true;
            return;
        }
        let shared = self.last.iter().zip(path).take_while(|(a, b)| a == b).count();
        number(&mut self.bytes, shared as u64);
        text(&mut self.bytes, &path[shared..]);
        self.bytes.push(code(entry.kind));
        for value in [entry.mode, entry.uid, entry.gid] {
            number(&mut self.bytes, value.into());
        }
        number(&mut self.bytes, entry.size);
        text(&mut self.bytes, &entry.target);
        self.bytes.extend(entry.sum.to_le_bytes());
        self.bytes.extend(entry.digest);
        self.last.truncate(shared);
        self.last.extend_from_slice(&path[shared..]);
    }

    /// The list; nothing if there is nothing in it.
    pub fn finish(mut self) -> Vec<u8> {
        if self.bytes.len() == MAGIC.len() && !self.is_cut {
            return Vec::new();
        }
        self.bytes.push(if self.is_cut { b'!' } else { b'.' });
        self.bytes
    }
}

fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn text(bytes: &mut Vec<u8>, value: &[u8]) {
    number(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

const KINDS: [(FileKind, u8); 6] = [
    (FileKind::File, b'-'),
    (FileKind::Directory, b'd'),
    (FileKind::Symlink, b'l'),
    (FileKind::Fifo, b'p'),
    (FileKind::CharDevice, b'c'),
    (FileKind::BlockDevice, b'b'),
];

/// The letters of kinds are printable and the end is `.` or `!`, but paths begin with a number: they
/// are told apart by where they stand.
fn code(kind: FileKind) -> u8 {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(b'-', |(_, code)| *code)
}

/// A list that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries by path.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// There were more.
    pub is_cut: bool,
}

/// Bytes that are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no list of files")]
pub struct ListingError;

/// Reads a list.
///
/// # Errors
///
/// [`ListingError`] if it is none.
pub fn read(bytes: &[u8]) -> Result<Listing, ListingError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ListingError)?;
    let (end, rest) = rest.split_last().ok_or(ListingError)?;
    let mut listing = Listing { is_cut: *end == b'!', ..Listing::default() };
    let mut reader = Reader(rest);
    let mut path: Vec<u8> = Vec::new();
    while !reader.0.is_empty() {
        let shared = usize::try_from(reader.number()?).map_err(|_| ListingError)?;
        if shared > path.len() {
            return Err(ListingError);
        }
        path.truncate(shared);
        path.extend_from_slice(reader.text()?);
        let code = reader.take(1)?[0];
        let kind = KINDS.iter().find(|(_, known)| *known == code).ok_or(ListingError)?.0;
        let mut word = || u32::try_from(reader.number()?).map_err(|_| ListingError);
        let (mode, uid, gid) = (word()?, word()?, word()?);
        let size = reader.number()?;
        let target = reader.text()?.to_vec();
        let sum = reader.take(4)?.try_into().map_err(|_| ListingError)?;
        let digest = reader.take(32)?.try_into().map_err(|_| ListingError)?;
        let sum = u32::from_le_bytes(sum);
        let entry = Entry { kind, mode, uid, gid, size, target, sum, digest };
        listing.entries.insert(path.clone(), entry);
    }
    Ok(listing)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ListingError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ListingError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, ListingError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ListingError)
    }

    fn text(&mut self) -> Result<&'a [u8], ListingError> {
        let count = usize::try_from(self.number()?).map_err(|_| ListingError)?;
        self.take(count)
    }
}

/// What differs between two lists, in the order of the paths. What only one of them can know, because
/// the other was cut, is not told.
pub fn changes(before: &Listing, after: &Listing) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for (path, entry) in &before.entries {
        match after.entries.get(path) {
            Some(now) => changes.extend(change(path, entry, now)),
            None if !after.is_cut => changes.push(FileChange {
                path: shown(path),
                changed: vec!["gone".to_owned()],
                before: None,
                after: None,
                before_digest: digest(entry),
                after_digest: None,
            }),
            None => {}
        }
    }
    let is_new = |path: &[u8]| !before.is_cut && !before.entries.contains_key(path);
    let new = after.entries.iter().filter(|(path, _)| is_new(path));
    changes.extend(new.map(|(path, entry)| FileChange {
        path: shown(path),
        changed: vec!["new".to_owned()],
        before: None,
        after: None,
        before_digest: None,
        after_digest: digest(entry),
    }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// How an entry differs from what it was; `None` if it does not.
pub fn change(path: &[u8], before: &Entry, after: &Entry) -> Option<FileChange> {
    if before.digest == after.digest {
        return None;
    }
    let (mut changed, mut was, mut is) = (Vec::new(), Vec::new(), Vec::new());
    let mut differs = |word: &str, before: String, after: String| {
        changed.push(word.to_owned());
        was.push(before);
        is.push(after);
    };
    if before.kind != after.kind {
        differs("kind", kind(before.kind).to_owned(), kind(after.kind).to_owned());
    } else {
        if before.target != after.target {
            differs("target", shown(&before.target), shown(&after.target));
        }
        let is_file = before.kind == FileKind::File;
        if is_file && (before.size, before.sum) != (after.size, after.sum) {
            differs("content", bytes(before.size), bytes(after.size));
        }
        if before.mode != after.mode && before.kind != FileKind::Symlink {
            differs("mode", format!("{:04o}", before.mode), format!("{:04o}", after.mode));
        }
        if (before.uid, before.gid) != (after.uid, after.gid) {
            let owner = |entry: &Entry| format!("{}:{}", entry.uid, entry.gid);
            differs("owner", owner(before), owner(after));
        }
        if changed.is_empty() {
            changed.push("extended attributes".to_owned());
        }
    }
    let joined = |words: Vec<String>| (!words.is_empty()).then(|| words.join(", "));
    Some(FileChange {
        path: shown(path),
        changed,
        before: joined(was),
        after: joined(is),
        before_digest: digest(before),
        after_digest: digest(after),
    })
}

fn bytes(size: u64) -> String {
    if size == 1 { "1 byte".to_owned() } else { format!("{size} bytes") }
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "link",
        FileKind::Fifo => "named pipe",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}

fn digest(entry: &Entry) -> Option<Digest> {
    let hex: String = entry.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().ok()
}

fn shown(path: &[u8]) -> String {
    match path {
        b"" => "/".to_owned(),
        path => String::from_utf8_lossy(path).into_owned(),
    }
}
