//! File systems as a tar: what is mounted at a directory goes in, entries come out.
//!
//! Entries come in the order of their names, parents first. Hard links stay links, extended
//! attributes are kept, sockets are left out, and overlayfs's own marks never show. Symbolic links
//! are never followed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::vec;

use kiln_oci::{Digest, Hasher};
use rustix::fs::{OFlags, major, makedev, minor};
use rustix::io::Errno;

use crate::tar_stream::{Entry, EntryKind, TarWriter};

/// One file system of a tar.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    /// The platform, for messages.
    pub(crate) platform: String,
    /// The directory of the tar it is put in, if not at its top.
    pub(crate) below: Option<String>,
    /// No time is later than this, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
    /// Names at its top that are not shown: others take their places.
    pub(crate) hidden: BTreeSet<OsString>,
    /// It is put into the directory of the tree before it.
    pub(crate) is_extra: bool,
}

/// Two platforms have the same file, and no directories of their own.
#[derive(Debug, thiserror::Error)]
#[error("cannot overwrite {path} from {first} with {second} when split option is disabled")]
pub struct Overwrite {
    path: String,
    first: String,
    second: String,
}

/// Writes trees into one tar. Blocks.
pub(crate) fn write(trees: &[Tree], out: &mut dyn Write) -> io::Result<()> {
    let mut tar = TarWriter::new(out);
    let mut seen = Seen::new(trees);
    for tree in trees {
        let prefix = match &tree.below {
            None => Vec::new(),
            Some(below) => {
                let name = format!("{below}/").into_bytes();
                if !tree.is_extra {
                    let mut entry = Entry::new(name.clone(), EntryKind::Directory, 0o755);
                    entry.mtime = tree.epoch.unwrap_or(0);
                    tar.entry(&entry)?;
                }
                name
            }
        };
        let mut walk = Walk { tree, prefix, links: HashMap::new(), seen: &mut seen };
        walk.run(&mut |entry, path| match path {
            Some(path) => tar.file(&entry, open(path)?),
            None => tar.entry(&entry),
        })?;
    }
    tar.finish()
}

/// Looks whether trees can be put into one directory. Blocks.
pub(crate) fn check(trees: &[Tree]) -> io::Result<()> {
    let mut seen = Seen::new(trees);
    if seen.owners.is_none() {
        return Ok(());
    }
    for tree in trees {
        let mut walk = Walk { tree, prefix: Vec::new(), links: HashMap::new(), seen: &mut seen };
        walk.run(&mut |_, _| Ok(()))?;
    }
    Ok(())
}

/// The digests of all regular files, by path. Blocks.
pub(crate) fn digests(tree: &Tree) -> io::Result<Vec<(String, Digest)>> {
    let mut seen = Seen { owners: None };
    let mut walk = Walk { tree, prefix: Vec::new(), links: HashMap::new(), seen: &mut seen };
    let mut found: Vec<(Vec<u8>, Digest)> = Vec::new();
    walk.run(&mut |entry, path| {
        let digest = match path {
            Some(path) => Some(digest(path)?),
            None if entry.kind == EntryKind::HardLink => {
                let first = found.iter().find(|(path, _)| *path == entry.link);
                first.map(|(_, digest)| digest.clone())
            }
            None => None,
        };
        found.extend(digest.map(|digest| (entry.name, digest)));
        Ok(())
    })?;
    let named = |(path, digest): (Vec<u8>, Digest)| (String::from_utf8_lossy(&path).into(), digest);
    Ok(found.into_iter().map(named).collect())
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut file = open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Which platform brought which path, if trees share a directory.
struct Seen {
    owners: Option<BTreeMap<Vec<u8>, (String, bool)>>,
}

impl Seen {
    fn new(trees: &[Tree]) -> Self {
        let shared = trees.iter().filter(|tree| tree.below.is_none()).count() > 1;
        Self { owners: shared.then(BTreeMap::new) }
    }

    /// Notes a path; false if it is a directory that is there already.
    fn note(&mut self, path: &[u8], platform: &str, is_directory: bool) -> io::Result<bool> {
        let Some(owners) = &mut self.owners else { return Ok(true) };
        match owners.get(path) {
            None => {
                owners.insert(path.to_owned(), (platform.to_owned(), is_directory));
                Ok(true)
            }
            Some((_, true)) if is_directory => Ok(false),
            Some((first, _)) => Err(io::Error::other(Overwrite {
                path: String::from_utf8_lossy(path).into_owned(),
                first: first.clone(),
                second: platform.to_owned(),
            })),
        }
    }
}

type Visit<'v> = &'v mut dyn FnMut(Entry, Option<&Path>) -> io::Result<()>;

struct Walk<'a> {
    tree: &'a Tree,
    prefix: Vec<u8>,
    /// First name of each file that has several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    seen: &'a mut Seen,
}

impl Walk<'_> {
    /// Visits everything; files with content come with their path.
    ///
    /// Without recursion: how deep directories go is for the build to say, not for our stack.
    fn run(&mut self, visit: Visit<'_>) -> io::Result<()> {
        let mut open = vec![(PathBuf::new(), self.list(Path::new(""))?)];
        while let Some((directory, names)) = open.last_mut() {
            let Some(name) = names.next() else {
                open.pop();
                continue;
            };
            let path = directory.join(name);
            if self.visit(&path, visit).map_err(|error| at(&path, error))? {
                let names = self.list(&path)?;
                open.push((path, names));
            }
        }
        Ok(())
    }

    /// The names in a directory, sorted.
    fn list(&self, directory: &Path) -> io::Result<vec::IntoIter<OsString>> {
        let entries = fs::read_dir(self.tree.root.join(directory));
        let entries = entries.map_err(|error| at(directory, error))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
        if directory.as_os_str().is_empty() {
            names.retain(|name| !self.tree.hidden.contains(name));
        }
        names.sort();
        Ok(names.into_iter())
    }

    /// Visits one path, and tells whether it is a directory.
    fn visit(&mut self, path: &Path, visit: Visit<'_>) -> io::Result<bool> {
        let full = self.tree.root.join(path);
        let metadata = match fs::symlink_metadata(&full) {
            // A whiteout of nothing, which overlayfs lists all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        let bytes = path.as_os_str().as_bytes();
        if self.seen.note(bytes, &self.tree.platform, metadata.is_dir())?
            && let Some(entry) = self.entry(path, &full, &metadata)?
        {
            let content = matches!(entry.kind, EntryKind::File(_)).then_some(full.as_path());
            visit(entry, content)?;
        }
        Ok(metadata.is_dir())
    }

    /// What the tar says about a file; `None` if it does not belong there.
    fn entry(
        &mut self,
        path: &Path,
        full: &Path,
        metadata: &Metadata,
    ) -> io::Result<Option<Entry>> {
        let mut name = self.prefix.clone();
        name.extend_from_slice(path.as_os_str().as_bytes());
        let device = (major(metadata.rdev()), minor(metadata.rdev()));
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => {
                name.push(b'/');
                EntryKind::Directory
            }
            kind if kind.is_file() => EntryKind::File(metadata.len()),
            kind if kind.is_symlink() => EntryKind::Symlink,
            // A whiteout, which only a layer without anything below it can show.
            kind if kind.is_char_device() && metadata.rdev() == makedev(0, 0) => return Ok(None),
            kind if kind.is_char_device() => EntryKind::CharDevice(device.0, device.1),
            kind if kind.is_block_device() => EntryKind::BlockDevice(device.0, device.1),
            kind if kind.is_fifo() => EntryKind::Fifo,
            _ => return Ok(None),
        };
        let mut entry = Entry::new(name, kind, metadata.mode() & 0o7777);
        (entry.uid, entry.gid) = kiln_store::owner::owner_of(full, metadata);
        entry.mtime = metadata.mtime().min(self.tree.epoch.unwrap_or(i64::MAX));
        if kind == EntryKind::Symlink {
            entry.link = fs::read_link(full)?.into_os_string().into_vec();
        } else if metadata.nlink() > 1 && !metadata.is_dir() {
            match self.links.entry((metadata.dev(), metadata.ino())) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link.clone_from(first.get());
                    return Ok(Some(entry));
                }
                std::collections::hash_map::Entry::Vacant(first) => {
                    first.insert(entry.name.clone());
                }
            }
        }
        entry.xattrs = xattrs(full)?;
        Ok(Some(entry))
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    fs::File::options().read(true).custom_flags(no_follow).open(path)
}

/// Says which file it was, and keeps what a reader may want to tell apart.
fn at(path: &Path, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe || error.get_ref().is_some() {
        return error;
    }
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// The extended attributes that are content, sorted by name.
fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The kernel allows lists and values of at most 64 KiB.
    let mut buffer = vec![0; 1 << 16];
    let names = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Ok(len) => buffer[..len].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        if name.is_empty() || is_mark(name) {
            continue;
        }
        match rustix::fs::lgetxattr(path, name, &mut buffer[..]) {
            Ok(len) => found.push((name.to_vec(), buffer[..len].to_vec())),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// The owner that the store noted for a file it could not chown: `uid:gid`.
pub(crate) fn parse_owner(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Whether an attribute is a mark of overlayfs, of the store or of the machine's security module.
pub(crate) fn is_mark(name: &[u8]) -> bool {
    const MARKS: &[&[u8]] = &[b"trusted.overlay.", b"user.overlay.", b"user.kiln."];
    MARKS.iter().any(|mark| name.starts_with(mark)) || name == b"security.selinux"
}
