//! Writes the entries of an archive into a directory: a layer's into a layer directory, one that a
//! build step unpacks into a mounted file system.
//!
//! Names in a layer are paths in the *merged* file system: a parent may be a directory or a symbolic
//! link of a layer below. They are resolved here step by step, links relative to the root and `..`
//! stopping at it, so that what is opened in the end is a path of real directories beneath it; the
//! kernel is asked to insist on that (`RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::archive::{ArchiveError, Entry};
use crate::attributes::{
    copy_attributes, is_content, is_whiteout, opaque_name, set_times, set_xattr,
};
use crate::error::StoreError;
use crate::layer::Snapshot;
use crate::owner;
use crate::sparse::SparseWriter;
use crate::view::View;

/// How many symbolic links one name may go through, as in the kernel.
const LINK_LIMIT: usize = 40;
/// How many bytes the names of directories may have together, because they are remembered.
const NAMES_LIMIT: usize = 256 << 20;
/// How many implied directories are noted; beyond that they count as any other.
const IMPLIED_LIMIT: usize = 10_000;

/// Why an entry was not written.
#[derive(Debug)]
pub(crate) enum ExtractError {
    Archive(ArchiveError),
    Store(StoreError),
}

impl From<ArchiveError> for ExtractError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<StoreError> for ExtractError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A directory while an archive is written into it.
pub(crate) struct Extraction {
    root: PathBuf,
    root_fd: OwnedFd,
    /// Where names begin, relative to the root.
    base: PathBuf,
    below: View,
    user_namespace: bool,
    meaning: Meaning,
    /// Whose everything becomes, whatever the archive says.
    owner: Option<(u32, u32)>,
    /// The directories that were made or set, relative to the root.
    directories: BTreeMap<PathBuf, DirectoryState>,
    /// How many bytes their names have.
    names: usize,
    /// Those that were made because something below them was named.
    implied: BTreeSet<PathBuf>,
    /// The parent of the last entry, kept open.
    parent: Option<(PathBuf, OwnedFd)>,
    /// The whiteouts that were made.
    whiteouts: BTreeSet<PathBuf>,
    /// Whether anything was made opaque.
    opaque: bool,
}

/// What an archive is, and so what its entries mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A layer: entries of some names hide what is below, and the root is an entry like any other.
    Layer,
    /// Files: every name is only a name, and what is unpacked into stays as it is.
    Files,
}

/// What was extracted.
pub(crate) struct Extracted {
    /// Whether something below is hidden by it.
    pub(crate) hides: bool,
    /// The directories that no entry is about, relative to the root.
    pub(crate) implied: BTreeSet<PathBuf>,
}

struct DirectoryState {
    opaque: bool,
    /// Set at the end, because every entry written into it changes it.
    mtime: (i64, i64),
}

/// What is done to one entry: its name for messages, and the time that implied parents get.
struct At<'a> {
    name: &'a [u8],
    mtime: (i64, i64),
}

impl At<'_> {
    fn refuse(&self, problem: impl Into<String>) -> ExtractError {
        let (entry, problem) = (self.name.to_owned(), problem.into());
        ArchiveError::Malformed { entry, problem }.into()
    }
}

impl Extraction {
    /// Begins in an empty directory, for a layer on top of `below` (bottom first).
    pub(crate) fn layer(
        root: &Path,
        below: &[Snapshot],
        user_namespace: bool,
    ) -> Result<Self, ExtractError> {
        let mut extraction = Self::begin(root, Meaning::Layer, View::new(below, user_namespace))?;
        extraction.user_namespace = user_namespace;
        let mut mtime = (0, 0);
        if let Some(top) = below.last() {
            copy_attributes(&top.path(), root)
                .map_err(|error| StoreError::io("set attributes of", root, error))?;
            mtime = modified(&top.path()).unwrap_or(mtime);
        }
        let state = DirectoryState { opaque: false, mtime };
        extraction.directories.insert(PathBuf::new(), state);
        Ok(extraction)
    }

    /// Begins in a file system that is there, at the directory `base` of it, whose path is one of
    /// real directories.
    pub(crate) fn files(
        root: &Path,
        base: &Path,
        owner: Option<(u32, u32)>,
    ) -> Result<Self, ExtractError> {
        let mut extraction = Self::begin(root, Meaning::Files, View::new(&[], false))?;
        extraction.base = base.to_owned();
        extraction.owner = owner;
        Ok(extraction)
    }

    fn begin(root: &Path, meaning: Meaning, below: View) -> Result<Self, ExtractError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .map_err(|error| StoreError::io("open", root, error))?;
        Ok(Self {
            root: root.to_owned(),
            root_fd,
            base: PathBuf::new(),
            below,
            user_namespace: false,
            meaning,
            owner: None,
            directories: BTreeMap::new(),
            names: 0,
            implied: BTreeSet::new(),
            parent: None,
            whiteouts: BTreeSet::new(),
            opaque: false,
        })
    }

    /// Writes one entry, reading its data from the archive.
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), ExtractError> {
        let at = At { name: &entry.path, mtime: entry.mtime };
        let mut names = components(&entry.path);
        let Some(name) = names.pop_back() else {
            return self.root_entry(&at, entry);
        };
        if self.meaning == Meaning::Layer
            && let Some(hidden) = name.as_bytes().strip_prefix(b".wh.")
        {
            return self.whiteout(&at, names, hidden);
        }
        let parent = self.resolve(&at, names)?;
        self.write(&at, entry, &parent.join(name), data)
    }

    /// The entry of the directory that everything is in.
    fn root_entry(&mut self, at: &At<'_>, entry: &Entry) -> Result<(), ExtractError> {
        match (entry.kind, self.meaning) {
            (EntryType::Directory, Meaning::Layer) => self.attributes(entry, Path::new("")),
            (EntryType::Directory, Meaning::Files) => Ok(()),
            _ => Err(at.refuse("it has no name")),
        }
    }

    /// Sets the times of directories, and takes away whiteouts of what nothing shows.
    pub(crate) fn finish(mut self) -> Result<Extracted, ExtractError> {
        for path in std::mem::take(&mut self.whiteouts) {
            if self.is_hidden(&path) {
                let full = self.root.join(&path);
                fs::remove_file(&full)
                    .map_err(|error| StoreError::io("remove whiteout", &full, error))?;
            } else {
                self.whiteouts.insert(path);
            }
        }
        for (path, state) in &self.directories {
            let path = self.root.join(path);
            set_times(&path, state.mtime.0, state.mtime.1)
                .map_err(|error| StoreError::io("set times of", &path, error))?;
        }
        let hides = self.opaque || !self.whiteouts.is_empty();
        Ok(Extracted { hides, implied: self.implied })
    }

    fn whiteout(
        &mut self,
        at: &At<'_>,
        parent: VecDeque<OsString>,
        hidden: &[u8],
    ) -> Result<(), ExtractError> {
        if hidden == b".wh..opq" {
            let directory = self.resolve(at, parent)?;
            return self.make_opaque(&directory);
        }
        if hidden.starts_with(b".wh.") {
            // Notes of aufs, without meaning here.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(at.refuse("it hides nothing that has a name"));
        }
        let path = self.resolve(at, parent)?.join(OsStr::from_bytes(hidden));
        match self.own(&path)? {
            // What the layer itself brings stays; only what is below is hidden.
            Some(metadata) if metadata.is_dir() => self.make_opaque(&path),
            Some(_) => Ok(()),
            // Overlayfs shows the whiteout of nothing as an entry that no one can open. Only a
            // layer without any below it may get others later.
            None if !self.below.is_empty() && self.look_below(&path)?.is_none() => Ok(()),
            None => {
                let (parent, name) = self.open_parent(&path)?;
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|error| self.failed("create whiteout", &path, error))?;
                self.whiteouts.insert(path);
                Ok(())
            }
        }
    }

    fn write(
        &mut self,
        at: &At<'_>,
        entry: &Entry,
        path: &Path,
        data: &mut impl Read,
    ) -> Result<(), ExtractError> {
        match entry.kind {
            EntryType::Regular | EntryType::Continuous => {
                self.make_room(path)?;
                self.file(entry, path, data)?;
            }
            EntryType::Directory => {
                self.implied.remove(path);
                if !self.directories.contains_key(path) {
                    self.directory(at, path)?;
                }
            }
            EntryType::Symlink => {
                if entry.link.is_empty() {
                    return Err(at.refuse("it is a symbolic link to nothing"));
                }
                self.make_room(path)?;
                let (parent, name) = self.open_parent(path)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), parent, name)
                    .map_err(|error| self.failed("create link", path, error))?;
            }
            // A hard link shares the attributes of its target.
            EntryType::Link => return self.hard_link(at, &entry.link, path),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.make_room(path)?;
                if !self.device(at, entry, path)? {
                    return Ok(());
                }
            }
            other => return Err(at.refuse(unsupported(other))),
        }
        self.attributes(entry, path)
    }

    /// Makes a directory of an entry, unless one is there.
    fn directory(&mut self, at: &At<'_>, path: &Path) -> Result<(), ExtractError> {
        if self.own(path)?.is_some_and(|metadata| metadata.is_dir()) {
            return self.remember(at, path, at.mtime);
        }
        let hid = self.make_room(path)?;
        self.make_directory(at, path, at.mtime)?;
        if hid { self.make_opaque(path) } else { Ok(()) }
    }

    fn file(
        &mut self,
        entry: &Entry,
        path: &Path,
        data: &mut impl Read,
    ) -> Result<(), ExtractError> {
        let full = self.root.join(path);
        let (parent, name) = self.open_parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode)
            .map_err(|error| StoreError::io("create", &full, error))?;
        let failed = |error| StoreError::io("writing", &full, error);
        let mut file = SparseWriter::new(File::from(file));
        let whole = [(0, entry.size)];
        for &(offset, len) in entry.pieces.as_deref().unwrap_or(&whole) {
            file.seek(offset);
            copy(data, &mut file, len, failed)?;
        }
        file.finish(entry.size).map_err(failed)?;
        Ok(())
    }

    /// Makes a device or pipe. Says whether it did: user namespaces allow no devices, and there
    /// they are left out, as other builders do.
    fn device(&mut self, at: &At<'_>, entry: &Entry, path: &Path) -> Result<bool, ExtractError> {
        let (major, minor) = entry.device;
        let kind = match entry.kind {
            EntryType::Char if (major, minor) == (0, 0) => {
                return Err(at.refuse("the character device 0:0 would hide files below"));
            }
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device: Dev = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(major, minor),
        };
        let (parent, name) = self.open_parent(path)?;
        match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) if kind != FileType::Fifo => Ok(false),
            Err(error) => Err(self.failed("create device", path, error).into()),
        }
    }

    fn hard_link(&mut self, at: &At<'_>, link: &[u8], path: &Path) -> Result<(), ExtractError> {
        let mut names = components(link);
        let name = names.pop_back().ok_or_else(|| at.refuse("it is a hard link to the root"))?;
        let target = self.resolve(at, names)?.join(name);
        if target == path {
            return Ok(());
        }
        let missing = || {
            let link = String::from_utf8_lossy(link);
            at.refuse(format!("its target `{link}` does not exist or is a directory"))
        };
        match self.own(&target)? {
            Some(metadata) if metadata.is_dir() || is_whiteout(&metadata) => return Err(missing()),
            Some(_) => {}
            None => self.copy_up(&target)?.ok_or_else(missing)?,
        }
        self.make_room(path)?;
        let parent = target.parent().unwrap_or(Path::new(""));
        let from = self.open_directory(parent)?;
        let from_name = target.file_name().ok_or_else(missing)?.to_owned();
        let (to, name) = self.open_parent(path)?;
        rustix::fs::linkat(from, from_name, to, name, AtFlags::empty())
            .map_err(|error| self.failed("link", path, error).into())
    }

    /// Copies a file of a layer below into this one; `None` if there is none that could be.
    fn copy_up(&mut self, path: &Path) -> Result<Option<()>, ExtractError> {
        let Some(found) = self.look_below(path)?.filter(|found| !found.metadata.is_dir()) else {
            return Ok(None);
        };
        let to = self.root.join(path);
        // The parents are real directories, because `path` was resolved.
        copy_entry(&found.path, &found.metadata, &to)?;
        Ok(Some(()))
    }

    /// Owner, mode, extended attributes, times; in this order, because each undoes the next.
    fn attributes(&mut self, entry: &Entry, path: &Path) -> Result<(), ExtractError> {
        let full = match path.file_name() {
            // Beneath an open directory, so that no link can be in between.
            Some(_) => {
                let (parent, name) = self.open_parent(path)?;
                PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name)
            }
            None => self.root.clone(),
        };
        let failed = |error: io::Error| StoreError::io("set attributes of", &full, error);
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        owner::set_owner(&full, uid, gid).map_err(failed)?;
        if entry.kind != EntryType::Symlink {
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmod(&full, mode).map_err(|error| failed(error.into()))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_content(name)) {
            match set_xattr(&full, OsStr::from_bytes(name), value) {
                // Names and values the file system does not take are left out.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => other.map_err(failed)?,
            }
        }
        if let Some(state) = self.directories.get_mut(path) {
            state.mtime = entry.mtime;
            return Ok(());
        }
        set_times(&full, entry.mtime.0, entry.mtime.1).map_err(failed)?;
        Ok(())
    }

    /// Removes what this layer has at `path`. Says whether that was a whiteout.
    fn make_room(&mut self, path: &Path) -> Result<bool, ExtractError> {
        let Some(metadata) = self.own(path)? else { return Ok(false) };
        let full = self.root.join(path);
        let removed = if metadata.is_dir() {
            self.forget_below(path);
            crate::trash::remove_tree(&full)
        } else {
            self.whiteouts.remove(path);
            fs::remove_file(&full)
        };
        removed.map_err(|error| StoreError::io("replace", &full, error))?;
        Ok(is_whiteout(&metadata))
    }

    /// Forgets what is known of a path and all below it.
    fn forget_below(&mut self, path: &Path) {
        self.parent = None;
        // Paths are in the order of their names, so those below a path follow it at once.
        while let Some(next) = self.directories.range(path.to_owned()..).next()
            && next.0.starts_with(path)
        {
            let next = next.0.clone();
            self.names -= next.as_os_str().len();
            self.directories.remove(&next);
        }
        for set in [&mut self.implied, &mut self.whiteouts] {
            while let Some(next) = set.range(path.to_owned()..).next()
                && next.starts_with(path)
            {
                let next = next.clone();
                set.remove(&next);
            }
        }
    }

    /// Turns the names of a directory into a path of real directories beneath the root, making
    /// those that are missing: with the attributes they have below, or plain ones.
    fn resolve(
        &mut self,
        at: &At<'_>,
        mut names: VecDeque<OsString>,
    ) -> Result<PathBuf, ExtractError> {
        let (mut path, mut links) = (self.base.clone(), 0);
        while let Some(name) = names.pop_front() {
            if name == ".." {
                path.pop();
                continue;
            }
            let next = path.join(&name);
            if self.directories.contains_key(&next) {
                path = next;
                continue;
            }
            if next.as_os_str().len() > 4096 {
                return Err(at.refuse("its path is too long"));
            }
            match self.step(at, &next)? {
                None => path = next,
                Some(target) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(at.refuse("it goes through too many symbolic links"));
                    }
                    if target.as_bytes().first() == Some(&b'/') {
                        path = PathBuf::new();
                    }
                    for part in split(target.as_bytes()).rev() {
                        names.push_front(part);
                    }
                }
            }
        }
        Ok(path)
    }

    /// Makes `path` a directory, unless it is a symbolic link: then gives its target.
    fn step(&mut self, at: &At<'_>, path: &Path) -> Result<Option<OsString>, ExtractError> {
        let read = |path: &Path| {
            fs::read_link(path)
                .map(|target| Some(target.into_os_string()))
                .map_err(|error| StoreError::io("read link", path, error).into())
        };
        match self.own(path)? {
            Some(metadata) if metadata.is_symlink() => return read(&self.root.join(path)),
            Some(metadata) if is_whiteout(&metadata) => {
                self.make_room(path)?;
                self.make_directory(at, path, at.mtime)?;
                self.make_opaque(path)?;
                return Ok(None);
            }
            Some(metadata) if metadata.is_dir() => return Ok(None),
            Some(_) => return Err(at.refuse("one of its parents is not a directory")),
            None => {}
        }
        match self.look_below(path)? {
            Some(found) if found.metadata.is_symlink() => read(&found.path),
            Some(found) if found.metadata.is_dir() => {
                let mtime = modified(&found.path).unwrap_or(at.mtime);
                self.make_directory(at, path, mtime)?;
                let full = self.root.join(path);
                copy_attributes(&found.path, &full)
                    .map_err(|error| StoreError::io("set attributes of", &full, error))?;
                Ok(None)
            }
            Some(_) => Err(at.refuse("one of its parents is not a directory")),
            None => {
                if self.implied.len() < IMPLIED_LIMIT {
                    self.implied.insert(path.to_owned());
                }
                self.make_directory(at, path, at.mtime).map(|()| None)
            }
        }
    }

    fn make_directory(
        &mut self,
        at: &At<'_>,
        path: &Path,
        mtime: (i64, i64),
    ) -> Result<(), ExtractError> {
        let (parent, name) = self.open_parent(path)?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
            .map_err(|error| self.failed("create directory", path, error))?;
        // The umask may have taken bits away.
        let (parent, name) = self.open_parent(path)?;
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())
            .map_err(|error| self.failed("create directory", path, error))?;
        self.remember(at, path, mtime)
    }

    fn remember(
        &mut self,
        at: &At<'_>,
        path: &Path,
        mtime: (i64, i64),
    ) -> Result<(), ExtractError> {
        self.names += path.as_os_str().len();
        if self.names > NAMES_LIMIT {
            return Err(at.refuse("the names of all directories have more than 256 MiB"));
        }
        self.directories.insert(path.to_owned(), DirectoryState { opaque: false, mtime });
        Ok(())
    }

    fn make_opaque(&mut self, path: &Path) -> Result<(), ExtractError> {
        let full = self.root.join(path);
        let name = opaque_name(self.user_namespace);
        rustix::fs::lsetxattr(&full, name, b"y", XattrFlags::empty())
            .map_err(|error| StoreError::io("make opaque", &full, error))?;
        if let Some(state) = self.directories.get_mut(path) {
            state.opaque = true;
        }
        self.opaque = true;
        Ok(())
    }

    /// Whether a directory above hides all that is below the layer.
    fn is_hidden(&self, path: &Path) -> bool {
        let opaque = |parent| self.directories.get(parent).is_some_and(|state| state.opaque);
        path.ancestors().skip(1).any(opaque)
    }

    /// What this layer has at `path`, whose parents are real directories of it.
    fn own(&self, path: &Path) -> Result<Option<Metadata>, ExtractError> {
        let full = self.root.join(path);
        match fs::symlink_metadata(&full) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("inspect", &full, error).into()),
        }
    }

    /// What the layers below show at `path`, unless an opaque directory of this one hides it.
    fn look_below(&mut self, path: &Path) -> Result<Option<crate::view::Found>, ExtractError> {
        if self.is_hidden(path) {
            return Ok(None);
        }
        self.below.look(path).map_err(|error| StoreError::io("inspect", path, error).into())
    }

    fn open_parent<'a>(&mut self, path: &'a Path) -> Result<(&OwnedFd, &'a OsStr), ExtractError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(open, _)| open != parent) {
            self.parent = Some((parent.to_owned(), self.open_directory(parent)?));
        }
        let (_, open) = self.parent.as_ref().expect("it was opened just now");
        Ok((open, path.file_name().unwrap_or_default()))
    }

    /// Opens a directory of this layer, insisting that no link is on the way.
    fn open_directory(&self, path: &Path) -> Result<OwnedFd, ExtractError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let opened = match rustix::fs::openat2(&self.root_fd, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(path, flags),
            other => other,
        };
        opened.map_err(|error| self.failed("open directory", path, error).into())
    }

    /// The same for kernels and sandboxes without `openat2`.
    fn open_step_by_step(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut directory = rustix::fs::openat(&self.root_fd, ".", flags, Mode::empty())?;
        for name in path {
            directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
        }
        Ok(directory)
    }

    fn failed(&self, doing: &'static str, path: &Path, error: Errno) -> StoreError {
        StoreError::io(doing, &self.root.join(path), error)
    }
}

fn modified(path: &Path) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.mtime(), metadata.mtime_nsec()))
}

/// The names of a path as other builders read it: absolute paths begin where the archive is unpacked,
/// `..` is folded away by text alone and stops there.
fn components(path: &[u8]) -> VecDeque<OsString> {
    let mut names = VecDeque::new();
    for name in split(path) {
        if name == ".." {
            names.pop_back();
        } else {
            names.push_back(name);
        }
    }
    names
}

/// Why entries of a kind are not written, by the name of the kind.
fn unsupported(kind: EntryType) -> String {
    let name = match kind.as_byte() {
        b'D' => " (a GNU directory listing)",
        b'M' => " (the rest of a file of another volume)",
        b'N' => " (old GNU long names)",
        b'V' => " (a GNU volume label)",
        b'X' => " (a Solaris extended header)",
        _ => "",
    };
    format!("entries of type {:?}{name} are not supported", char::from(kind.as_byte()))
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(|name| OsString::from_vec(name.to_vec()))
}

/// Copies so many bytes, telling failures of the archive from failures of the disk.
fn copy(
    from: &mut impl Read,
    to: &mut SparseWriter,
    mut len: u64,
    failed: impl Fn(io::Error) -> StoreError,
) -> Result<(), ExtractError> {
    let mut buffer = [0u8; 64 << 10];
    while len > 0 {
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(buffer.len());
        let read = match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()).into()),
            Ok(read) => read,
            Err(error) => return Err(ArchiveError::Read(error).into()),
        };
        to.write(&buffer[..read]).map_err(&failed)?;
        len -= read as u64;
    }
    Ok(())
}

/// Copies one entry that is no directory, with its attributes; data is shared where the file
/// system can.
pub(crate) fn copy_entry(from: &Path, metadata: &Metadata, to: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let failed = |error: io::Error| StoreError::io("copying to", to, error);
    let kind = metadata.file_type();
    if kind.is_file() {
        crate::sparse::copy_file(from, to).map_err(failed)?;
    } else if kind.is_symlink() {
        let target = fs::read_link(from).map_err(failed)?;
        std::os::unix::fs::symlink(target, to).map_err(failed)?;
    } else {
        let made = match () {
            () if kind.is_char_device() => FileType::CharacterDevice,
            () if kind.is_block_device() => FileType::BlockDevice,
            () if kind.is_fifo() => FileType::Fifo,
            () => return Ok(()),
        };
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, to, made, mode, metadata.rdev()).map_err(|e| failed(e.into()))?;
    }
    copy_attributes(from, to).map_err(failed)
}
