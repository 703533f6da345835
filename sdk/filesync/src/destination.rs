//! The destination of a transfer: compares what is described with what is there, and writes.
//!
//! [`Destination`] is used by one blocking job. Entries arrive in wire order, so the directories that can
//! still receive entries form a path; [`Level`]s are that path, each with the names found in it that
//! nobody has mentioned yet. Owners, modes and times of directories, and hard links, wait for
//! [`Destination::finish`], because writing into a directory changes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::iter::Peekable;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec::IntoIter;

use kiln_pb::filetree::Stat;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::listing::{self, List};
use crate::path::{self, order};
use crate::progress::Progress;
use crate::receive::{Diff, Limits, Owner, ReceiveError, ReceiveOptions, ReceiveSummary};
use crate::walk::{describe, travels};
use crate::{mode, sys};

/// How many files a sender may send at the same time.
const MAX_OPEN: usize = 256;
/// How many files are asked for out of doubt, and how many bytes they have at most.
const DOUBTED: usize = 256;
const DOUBTED_BYTES: i64 = 16 << 20;

pub(crate) struct Destination {
    root: OwnedFd,
    options: ReceiveOptions,
    /// Where everything is noted, if only some of it is placed.
    list: Option<List>,
    levels: Vec<Level>,
    directories: Vec<Directory>,
    links: Vec<Link>,
    /// Regular files that may be linked to, in wire order.
    files: Vec<Box<str>>,
    /// Requested files that are not complete, by id.
    pending: BTreeMap<u32, Pending>,
    open: usize,
    /// The directory of the last file that was begun, which is probably that of the next.
    parent: Option<(String, Arc<OwnedFd>)>,
    last: String,
    /// How many files more are asked for out of doubt, and with how many bytes.
    doubts: (usize, i64),
    ended: bool,
    files_done: u64,
    summary: ReceiveSummary,
}

/// A directory that may still get entries.
struct Level {
    path: String,
    directory: OwnedFd,
    /// Where it is in `Destination::directories`; the root is nowhere.
    index: Option<usize>,
    unmentioned: Peekable<IntoIter<(Vec<u8>, FileType)>>,
}

/// A directory whose attributes are set at the end.
struct Directory {
    stat: Stat,
    /// Something in it or about it was changed.
    touched: bool,
}

struct Link {
    stat: Stat,
    parent: Option<usize>,
}

struct Pending {
    stat: Stat,
    /// A file of the same name is there and is replaced when this one is complete.
    replaces: bool,
    output: Option<Output>,
}

struct Output {
    file: File,
    parent: Arc<OwnedFd>,
    /// The name it has while it is being written.
    name: String,
    /// How much of it is here, and where the last byte that was written ends: pieces of zeros are
    /// left out, so that files with holes have them here too.
    len: u64,
    written: u64,
}

impl Destination {
    /// Opens the destination, making it if needed.
    pub(crate) fn open(
        destination: PathBuf,
        options: ReceiveOptions,
    ) -> Result<Self, ReceiveError> {
        let at_root = |source| failed("", source);
        std::fs::create_dir_all(&destination).map_err(at_root)?;
        let flags = sys::DIRECTORY.difference(OFlags::NOFOLLOW);
        let root = rustix::fs::open(&destination, flags, Mode::empty())
            .map_err(|error| at_root(error.into()))?;
        let directory = sys::open_below(root.as_fd(), "", sys::DIRECTORY, 0).map_err(at_root)?;
        let level = Level::enter(String::new(), directory, None).map_err(at_root)?;
        let list = options.listing.as_ref().map(|listing| List::create(root.as_fd(), listing));
        let list = list.transpose().map_err(at_root)?;
        Ok(Self {
            root,
            options,
            list,
            levels: vec![level],
            directories: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
            pending: BTreeMap::new(),
            open: 0,
            parent: None,
            last: String::new(),
            doubts: (DOUBTED, DOUBTED_BYTES),
            ended: false,
            files_done: 0,
            summary: ReceiveSummary::default(),
        })
    }

    /// Whether everything was described and everything requested is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// Takes the next description; answers with the id to request if the content is wanted.
    pub(crate) fn entry(&mut self, stat: Stat) -> Result<Option<u32>, ReceiveError> {
        self.admit(&stat)?;
        let id = u32::try_from(self.summary.entries)
            .map_err(|_| too_much("entries", u64::from(u32::MAX)))?;
        self.summary.entries += 1;
        self.last.clone_from(&stat.path);
        let placed = match &mut self.list {
            None => vec![(id, stat)],
            Some(list) => list.add(id, stat, self.options.limits.depth)?,
        };
        let mut wanted = None;
        for (id, stat) in placed {
            // Only the last one is a file: the others are directories above it.
            wanted = self.place(id, stat)?;
        }
        self.tell();
        Ok(wanted)
    }

    fn place(&mut self, id: u32, mut stat: Stat) -> Result<Option<u32>, ReceiveError> {
        self.step_to(&stat)?;
        stat.xattrs.retain(|key, _| travels(key));
        let found =
            self.look(path::name(&stat.path)).map_err(|source| failed(&stat.path, source))?;
        match stat.mode & mode::TYPE {
            mode::DIRECTORY => self.directory(stat, found).map(|()| None),
            0 if stat.linkname.is_empty() => self.file(stat, found, id),
            0 => self.link(stat).map(|()| None),
            _ => self.special(stat, found).map(|()| None),
        }
    }

    /// All entries were described: what nobody mentioned goes.
    pub(crate) fn no_more_entries(&mut self) -> Result<(), ReceiveError> {
        if self.ended {
            return Err(ReceiveError::Unexpected("a second end of the descriptions"));
        }
        self.ended = true;
        while !self.levels.is_empty() {
            self.leave()?;
        }
        Ok(())
    }

    /// Takes content of a requested file; empty content is its end.
    pub(crate) fn content(&mut self, id: u32, data: &[u8]) -> Result<(), ReceiveError> {
        let pending = self
            .pending
            .get_mut(&id)
            .ok_or(ReceiveError::Unexpected("content nobody asked for"))?;
        if pending.output.is_none() {
            if self.open >= MAX_OPEN {
                return Err(ReceiveError::Unexpected("content of too many files at once"));
            }
            let path = path::parent(&pending.stat.path);
            let parent = match &self.parent {
                Some((known, parent)) if known == path => Arc::clone(parent),
                _ => {
                    let opened = sys::open_below(self.root.as_fd(), path, sys::DIRECTORY, 0);
                    let opened = opened.map_err(|source| failed(&pending.stat.path, source))?;
                    let opened = Arc::new(opened);
                    self.parent = Some((path.to_owned(), Arc::clone(&opened)));
                    opened
                }
            };
            pending.output = Some(Output::create(parent, pending, id)?);
            self.open += 1;
        }
        if let Some(output) = &mut pending.output {
            output.add(data).map_err(|source| failed(&pending.stat.path, source))?;
        }
        self.summary.bytes += data.len() as u64;
        if self.summary.bytes > self.options.limits.bytes {
            return Err(too_much("bytes", self.options.limits.bytes));
        }
        if data.is_empty() {
            self.complete(id)?;
        }
        self.tell();
        Ok(())
    }

    /// Makes hard links and gives directories their attributes.
    pub(crate) fn finish(mut self) -> Result<ReceiveSummary, ReceiveError> {
        for link in std::mem::take(&mut self.links) {
            let made = make_link(self.root.as_fd(), &link.stat)
                .map_err(|source| failed(&link.stat.path, source))?;
            if made {
                self.summary.changed += 1;
                self.touch(link.parent);
            }
        }
        // Backwards, because the mode of a directory may close what is below it.
        for directory in self.directories.iter().rev().filter(|directory| directory.touched) {
            let path = &directory.stat.path;
            let set = || {
                let opened = sys::open_below(self.root.as_fd(), path, sys::DIRECTORY, 0)?;
                set_attributes(opened.as_fd(), &directory.stat, self.owner(&directory.stat))
            };
            set().map_err(|source| failed(path, source))?;
        }
        if let Some(list) = self.list.take() {
            let publish = || {
                remove(self.root.as_fd(), listing::NAME.as_bytes())?;
                list.publish()
            };
            publish().map_err(|source| failed(listing::NAME, source))?;
        }
        Ok(self.summary)
    }

    /// Checks the rules of the protocol.
    fn admit(&self, stat: &Stat) -> Result<(), ReceiveError> {
        let rule = |rule| ReceiveError::Entry { path: stat.path.clone(), rule };
        if self.ended {
            return Err(ReceiveError::Unexpected(
                "a description after the end of the descriptions",
            ));
        }
        path::check(&stat.path)?;
        if !self.last.is_empty() && order(&self.last, &stat.path).is_ge() {
            return Err(rule("it is not after the entry before it"));
        }
        let limits: Limits = self.options.limits;
        if self.summary.entries >= limits.entries {
            return Err(too_much("entries", limits.entries));
        }
        if stat.size < 0 {
            return Err(rule("its size is negative"));
        }
        Ok(())
    }

    /// Makes the entry's directory the innermost level.
    fn step_to(&mut self, stat: &Stat) -> Result<(), ReceiveError> {
        let parent = path::parent(&stat.path);
        while self.levels.last().is_some_and(|level| !contains(&level.path, parent)) {
            self.leave()?;
        }
        if self.levels.last().is_none_or(|level| level.path != parent) {
            let rule = "its directory was not described";
            return Err(ReceiveError::Entry { path: stat.path.clone(), rule });
        }
        let depth = self.options.limits.depth;
        if self.levels.len() > depth {
            return Err(too_much("directories inside each other", depth as u64));
        }
        Ok(())
    }

    /// What is at the next name of the innermost level; unmentioned names before it go.
    fn look(&mut self, name: &str) -> io::Result<Option<rustix::fs::Stat>> {
        self.delete_unmentioned(Some(name))?;
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        if level.unmentioned.next_if(|(found, _)| found == name.as_bytes()).is_none() {
            return Ok(None);
        }
        match sys::lstat(level.directory.as_fd(), name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn delete_unmentioned(&mut self, before: Option<&str>) -> io::Result<()> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let gone = |(name, _): &(Vec<u8>, FileType)| {
            before.is_none_or(|before| name.as_slice() < before.as_bytes())
        };
        let mut deleted = 0;
        while let Some((name, _)) = level.unmentioned.next_if(gone) {
            if !self.options.merge {
                remove(level.directory.as_fd(), &name)?;
                deleted += 1;
            }
        }
        if deleted > 0 {
            self.summary.deleted += deleted;
            self.touch_innermost();
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ReceiveError> {
        let deleted = self.delete_unmentioned(None);
        let path = self.levels.pop().map(|level| level.path).unwrap_or_default();
        deleted.map_err(|source| failed(&path, source))
    }

    fn directory(
        &mut self,
        stat: Stat,
        found: Option<rustix::fs::Stat>,
    ) -> Result<(), ReceiveError> {
        let name = path::name(&stat.path);
        let there = found.as_ref().map(describe).filter(|there| mode::is_directory(there.mode));
        let same = there.as_ref().is_some_and(|there| self.is_same(there, &stat));
        if !same {
            self.summary.changed += 1;
        }
        let enter = || {
            let parent = self.innermost();
            if there.is_none() {
                if found.is_some() {
                    remove(parent, name.as_bytes())?;
                }
                rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            }
            let directory = rustix::fs::openat(parent, name, sys::DIRECTORY, Mode::empty())?;
            // Without privilege a directory must be writable while it is written to.
            if there.as_ref().is_some_and(|there| there.mode & 0o700 != 0o700) {
                rustix::fs::fchmod(&directory, Mode::RWXU)?;
            }
            Level::enter(stat.path.clone(), directory, Some(self.directories.len()))
        };
        let level = enter().map_err(|source| failed(&stat.path, source))?;
        if there.is_none() {
            self.touch_innermost();
        }
        let dated = there.as_ref().is_some_and(|there| there.mod_time == stat.mod_time);
        let opened = there.is_some_and(|there| there.mode & 0o700 != 0o700);
        self.directories.push(Directory { stat, touched: !same || !dated || opened });
        self.levels.push(level);
        Ok(())
    }

    fn file(
        &mut self,
        stat: Stat,
        found: Option<rustix::fs::Stat>,
        id: u32,
    ) -> Result<Option<u32>, ReceiveError> {
        self.files.push(stat.path.as_str().into());
        let there = found.as_ref().map(describe);
        if there
            .as_ref()
            .is_some_and(|there| mode::is_regular(there.mode) && self.is_same(there, &stat))
            && !self.doubts(&stat)
        {
            return Ok(None);
        }
        let replaces = match there {
            Some(there) if mode::is_directory(there.mode) => {
                remove(self.innermost(), path::name(&stat.path).as_bytes())
                    .map_err(|source| failed(&stat.path, source))?;
                false
            }
            there => there.is_some(),
        };
        self.summary.changed += 1;
        self.touch_innermost();
        self.pending.insert(id, Pending { stat, replaces, output: None });
        Ok(Some(id))
    }

    fn link(&mut self, mut stat: Stat) -> Result<(), ReceiveError> {
        stat.linkname = stat.linkname.trim_start_matches('/').to_owned();
        path::check(&stat.linkname)?;
        if self.files.binary_search_by(|file| order(file, &stat.linkname)).is_err() {
            let rule = match self.list {
                None => "it links to a file that was not described",
                Some(_) => "it links to a file that is only listed, or not described",
            };
            return Err(ReceiveError::Entry { path: stat.path, rule });
        }
        let parent = self.levels.last().and_then(|level| level.index);
        self.links.push(Link { stat, parent });
        Ok(())
    }

    /// A symbolic link, a device or a pipe.
    fn special(&mut self, stat: Stat, found: Option<rustix::fs::Stat>) -> Result<(), ReceiveError> {
        let rule = |rule| ReceiveError::Entry { path: stat.path.clone(), rule };
        let symlink = mode::is_symlink(stat.mode);
        if symlink
            && (stat.linkname.is_empty()
                || stat.linkname.len() > path::MAX_BYTES
                || stat.linkname.contains('\0'))
        {
            return Err(rule("it is a symbolic link to nowhere"));
        }
        if mode::to_posix(stat.mode) & libc::S_IFMT == 0 || stat.mode & mode::SOCKET != 0 {
            return Err(rule("it is of no known type"));
        }
        let name = path::name(&stat.path);
        let parent = self.innermost();
        let same = found.as_ref().is_some_and(|found| {
            let mut there = describe(found);
            if symlink && mode::is_symlink(there.mode) {
                there.linkname = sys::read_link(parent, name).unwrap_or_default();
            }
            self.is_same(&there, &stat)
        });
        if same {
            return Ok(());
        }
        let make = || {
            if found.is_some() {
                remove(parent, name.as_bytes())?;
            }
            if symlink {
                make_symlink(parent, name, &stat, self.owner(&stat))
            } else {
                make_node(parent, name, &stat, self.owner(&stat))
            }
        };
        make().map_err(|source| failed(&stat.path, source))?;
        self.summary.changed += 1;
        self.touch_innermost();
        Ok(())
    }

    /// Gives a received file its attributes and its name.
    fn complete(&mut self, id: u32) -> Result<(), ReceiveError> {
        let Some(mut pending) = self.pending.remove(&id) else { return Ok(()) };
        let Some(output) = pending.output.take() else { return Ok(()) };
        self.open -= 1;
        self.files_done += 1;
        let set = output.fill().and_then(|()| {
            set_attributes(output.file.as_fd(), &pending.stat, self.owner(&pending.stat))
        });
        let done = set.and_then(|()| output.publish(path::name(&pending.stat.path)));
        if done.is_err() {
            output.discard();
        }
        done.map_err(|source| failed(&pending.stat.path, source))
    }

    /// Whether an entry need not be made again. Size and time of a directory say nothing about it.
    fn is_same(&self, there: &Stat, wanted: &Stat) -> bool {
        let dated = there.size == wanted.size && there.mod_time == wanted.mod_time;
        let owned = self.owner(wanted).is_none_or(|owner| owner == (there.uid, there.gid));
        let directory = mode::is_directory(wanted.mode);
        (self.options.diff != Diff::None || directory)
            && there.mode == wanted.mode
            && (dated || directory)
            && owned
            && there.linkname == wanted.linkname
            && (there.devmajor, there.devminor) == (wanted.devmajor, wanted.devminor)
    }

    /// Whether a file that looks the same is asked for all the same; as long as that does not cost too much.
    fn doubts(&mut self, stat: &Stat) -> bool {
        let (files, bytes) = self.doubts;
        if !self.options.diff.doubts(stat.mod_time) || files == 0 || bytes < stat.size {
            return false;
        }
        self.doubts = (files - 1, bytes - stat.size);
        true
    }

    fn owner(&self, stat: &Stat) -> Option<(u32, u32)> {
        match self.options.owner {
            Owner::AsSent => Some((stat.uid, stat.gid)),
            Owner::Ours => None,
            Owner::Fixed { uid, gid } => Some((uid, gid)),
        }
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.root.as_fd(), |level| level.directory.as_fd())
    }

    fn touch_innermost(&mut self) {
        self.touch(self.levels.last().and_then(|level| level.index));
    }

    fn touch(&mut self, index: Option<usize>) {
        if let Some(directory) = index.and_then(|index| self.directories.get_mut(index)) {
            directory.touched = true;
        }
    }

    fn tell(&self) {
        let ReceiveSummary { entries, bytes, .. } = self.summary;
        self.options.progress.tell(Progress { entries, files: self.files_done, bytes });
    }
}

impl Drop for Destination {
    /// What is only half here goes.
    fn drop(&mut self) {
        for output in self.pending.values().filter_map(|pending| pending.output.as_ref()) {
            output.discard();
        }
    }
}

impl Level {
    fn enter(path: String, directory: OwnedFd, index: Option<usize>) -> io::Result<Self> {
        let unmentioned = sys::list(directory.as_fd())?.into_iter().peekable();
        Ok(Self { path, directory, index, unmentioned })
    }
}

impl Output {
    fn create(parent: Arc<OwnedFd>, pending: &Pending, id: u32) -> Result<Self, ReceiveError> {
        let path = &pending.stat.path;
        let create = || {
            let name = match pending.replaces {
                true => format!(".kiln-{}-{id}", std::process::id()),
                false => path::name(path).to_owned(),
            };
            let file = rustix::fs::openat(&*parent, &name, sys::CREATE, Mode::RUSR | Mode::WUSR)?;
            Ok(Self { file: file.into(), parent, name, len: 0, written: 0 })
        };
        create().map_err(|source| failed(path, source))
    }

    fn add(&mut self, data: &[u8]) -> io::Result<()> {
        // In pieces, so that the sum needs no branch and the search ends early all the same.
        let is_zero =
            data.chunks(128).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0);
        if !is_zero {
            self.file.write_all_at(data, self.len)?;
            self.written = self.len + data.len() as u64;
        }
        self.len += data.len() as u64;
        Ok(())
    }

    /// Gives the file its length, if it ends in a hole.
    fn fill(&self) -> io::Result<()> {
        if self.written < self.len { self.file.set_len(self.len) } else { Ok(()) }
    }

    fn publish(&self, name: &str) -> io::Result<()> {
        if self.name != name {
            rustix::fs::renameat(&*self.parent, &self.name, &*self.parent, name)?;
        }
        Ok(())
    }

    fn discard(&self) {
        // Nobody can be told any more; the next transfer finds it as something unmentioned.
        rustix::fs::unlinkat(&*self.parent, &self.name, AtFlags::empty()).ok();
    }
}

/// Whether `path` is `directory` or below it.
pub(crate) fn contains(directory: &str, path: &str) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Deletes an entry and everything below it, following nothing.
fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        other => return Ok(other?),
    }
    let opened = match rustix::fs::openat(directory, name, sys::DIRECTORY, Mode::empty()) {
        // The directory is ours and closed to ourselves.
        Err(rustix::io::Errno::ACCESS) => {
            rustix::fs::chmodat(directory, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(directory, name, sys::DIRECTORY, Mode::empty())?
        }
        other => other?,
    };
    // What is in it can only be deleted if it may be written to; if it cannot, deleting says so.
    rustix::fs::fchmod(&opened, Mode::RWXU).ok();
    for (name, _) in sys::list(opened.as_fd())? {
        remove(opened.as_fd(), &name)?;
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

/// Owner first, since changing it clears set-user-id and capabilities; the time last.
fn set_attributes(file: BorrowedFd<'_>, stat: &Stat, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(file, Some(uid_of(uid)), Some(gid_of(gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode::permissions(stat.mode)))?;
    for (key, value) in &stat.xattrs {
        match sys::set_xattr(file, key, value) {
            // The file system has none, or we may not: the content is still right.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                tracing::debug!(path = stat.path, key, %error, "attribute not kept");
            }
            other => other?,
        }
    }
    Ok(rustix::fs::futimens(file, &sys::timestamps(stat.mod_time))?)
}

fn make_symlink(
    parent: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    rustix::fs::symlinkat(&stat.linkname, parent, name)?;
    set_unopened(parent, name, stat, owner)
}

fn make_node(
    parent: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let kind = FileType::from_raw_mode(mode::to_posix(stat.mode));
    let permissions = Mode::from_raw_mode(mode::permissions(stat.mode));
    let number =
        |number: i64| u32::try_from(number).map_err(|_| io::Error::other("no such device number"));
    let device = rustix::fs::makedev(number(stat.devmajor)?, number(stat.devminor)?);
    rustix::fs::mknodat(parent, name, kind, permissions, device)?;
    set_unopened(parent, name, stat, owner)?;
    // Opened as a name only: a device must not notice, and a link put in its place is not followed.
    let opened = rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
    Ok(rustix::fs::chmod(path, permissions)?)
}

fn set_unopened(
    parent: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::chownat(
            parent,
            name,
            Some(uid_of(uid)),
            Some(gid_of(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(rustix::fs::utimensat(
        parent,
        name,
        &sys::timestamps(stat.mod_time),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Makes a hard link unless it is there; true if it had to be made.
fn make_link(root: BorrowedFd<'_>, stat: &Stat) -> io::Result<bool> {
    let (path, target) = (stat.path.as_str(), stat.linkname.as_str());
    let parent = sys::open_below(root, path::parent(path), sys::DIRECTORY, 0)?;
    let target_parent = sys::open_below(root, path::parent(target), sys::DIRECTORY, 0)?;
    let wanted = sys::lstat(target_parent.as_fd(), path::name(target))?;
    if let Ok(there) = sys::lstat(parent.as_fd(), path::name(path)) {
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(false);
        }
        remove(parent.as_fd(), path::name(path).as_bytes())?;
    }
    rustix::fs::linkat(
        &target_parent,
        path::name(target),
        &parent,
        path::name(path),
        AtFlags::empty(),
    )?;
    Ok(true)
}

fn uid_of(id: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(id)
}

fn gid_of(id: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(id)
}

pub(crate) fn too_much(what: &'static str, limit: u64) -> ReceiveError {
    ReceiveError::TooMuch { what, limit }
}

pub(crate) fn failed(path: &str, source: io::Error) -> ReceiveError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ReceiveError::NoSpace { path },
        _ => ReceiveError::Write { path, source },
    }
}
