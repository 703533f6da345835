//! A tree in wire order: directories before what is in them, everything sorted by component.
//!
//! [`walk`] comes in with a [`Root`] and a [`Filter`] and hands every entry to a visitor as the
//! [`Stat`] that will travel. It blocks, holds one directory open at a time, never leaves the root
//! and never follows a symbolic link.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kiln_pb::filetree::Stat;
use rustix::fs::FileType;

use crate::filter::{Above, Filter, Rules, Verdict};
use crate::pattern::PatternError;
use crate::{mode, sys};

/// Why a tree cannot be walked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The directory itself cannot be opened.
    #[error("cannot open directory {path:?}")]
    Open {
        /// As the caller named it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something in it cannot be looked at.
    #[error("cannot read {path:?}")]
    Read {
        /// Relative to the root.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file name the protocol has no way to say.
    #[error("the file name {path:?} is not UTF-8 and cannot be sent; rename it or exclude it")]
    NotText {
        /// Relative to the root, the strange bytes replaced.
        path: String,
    },
    /// A pattern of the filter is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Following symbolic links does not come to an end.
    #[error("too many symbolic links to follow at {path:?}")]
    TooManyLinks {
        /// Where it was given up.
        path: String,
    },
    /// The visitor wants no more.
    #[error("the walk was stopped")]
    Stopped,
}

impl WalkError {
    fn is_denied_at(&self, wanted: &str) -> bool {
        matches!(self, Self::Read { path, source }
            if path == wanted && source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// An open directory, and with it the right to see what is below it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Root {
    directory: Arc<OwnedFd>,
}

impl Root {
    /// Opens a directory. The path itself may be a symbolic link; it is resolved now and once.
    ///
    /// # Errors
    ///
    /// [`WalkError::Open`] if it is not there, not a directory or not readable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WalkError> {
        let path = path.as_ref();
        let flags = sys::DIRECTORY.difference(rustix::fs::OFlags::NOFOLLOW);
        match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
            Ok(directory) => Ok(Self { directory: Arc::new(directory) }),
            Err(error) => {
                Err(WalkError::Open { path: path.display().to_string(), source: error.into() })
            }
        }
    }

    /// Opens a regular file below the root for reading; no part of the path may be a symbolic link.
    ///
    /// # Errors
    ///
    /// [`WalkError::Read`] if it is not there, not readable, or not a regular file.
    pub fn open_file(&self, path: &str) -> Result<std::fs::File, WalkError> {
        let failed = |source| WalkError::Read { path: path.to_owned(), source };
        let file = sys::open_below(self.as_fd(), path, sys::READ, 0).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        if !mode::is_regular(mode::from_posix(stat.st_mode)) {
            return Err(failed(io::Error::other("not a regular file")));
        }
        Ok(file.into())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Visits every entry the filter lets through, in wire order. Blocks.
///
/// Sockets are left out. A regular file with several links is described in full the first time; the
/// others name it in `linkname` and have no size. Directories above an included path are visited
/// even if they are not included themselves.
///
/// # Errors
///
/// See [`WalkError`]; what the visitor returns ends the walk.
pub fn walk(
    root: &Root,
    filter: &Filter,
    visit: &mut dyn FnMut(Stat) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let rules = filter.compile(root)?;
    Walk { root, rules, visit, links: HashMap::new(), waiting: Vec::new() }
        .directory("", &Above::default())
}

struct Walk<'a> {
    root: &'a Root,
    rules: Rules,
    visit: &'a mut dyn FnMut(Stat) -> Result<(), WalkError>,
    /// First path of each file that has several links, by device and inode.
    links: HashMap<(u64, u64), String>,
    /// Directories that are passed through but not sent unless something below them is.
    waiting: Vec<Stat>,
}

/// An entry that was looked at and judged, and what is needed to go on below it.
struct Judged {
    stat: Stat,
    identity: Option<(u64, u64)>,
    verdict: Verdict,
    below: Above,
}

impl Walk<'_> {
    fn directory(&mut self, path: &str, above: &Above) -> Result<(), WalkError> {
        for entry in self.judge_all(path, above)? {
            let Judged { mut stat, identity, verdict, below } = entry;
            let directory = mode::is_directory(stat.mode).then(|| stat.path.clone());
            match verdict {
                Verdict::Send => {
                    self.detect_link(&mut stat, identity);
                    for parent in self.waiting.drain(..) {
                        (self.visit)(parent)?;
                    }
                    (self.visit)(stat)?;
                }
                Verdict::LookBelow => self.waiting.push(stat),
                Verdict::Skip => continue,
            }
            if let Some(directory) = directory {
                match self.directory(&directory, &below) {
                    // Nobody asked for the directory itself, and what is in it nobody may know.
                    Err(error)
                        if verdict == Verdict::LookBelow && error.is_denied_at(&directory) => {}
                    other => other?,
                }
                if self.waiting.last().is_some_and(|waiting| waiting.path == directory) {
                    self.waiting.pop();
                }
            }
        }
        Ok(())
    }

    /// Looks at everything in one directory, which is closed again before anything below it is opened.
    fn judge_all(&self, path: &str, above: &Above) -> Result<Vec<Judged>, WalkError> {
        let failed = |source| WalkError::Read { path: path.to_owned(), source };
        let directory =
            sys::open_below(self.root.as_fd(), path, sys::DIRECTORY, 0).map_err(failed)?;
        let mut entries = Vec::new();
        for (name, kind) in sys::list(directory.as_fd()).map_err(failed)? {
            if kind == FileType::Socket {
                continue;
            }
            let name = String::from_utf8_lossy(&name);
            let path = if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
            let (verdict, below) = self.rules.judge(&path, kind == FileType::Directory, above);
            // Where the file system does not tell the type, "nothing below" means nothing yet.
            if verdict == Verdict::Skip && kind != FileType::Unknown {
                continue;
            }
            if name.contains(char::REPLACEMENT_CHARACTER)
                && sys::lstat(directory.as_fd(), &name).is_err()
            {
                return Err(WalkError::NotText { path });
            }
            match self.look(directory.as_fd(), &name, path.clone()) {
                Ok((stat, _)) if stat.mode & mode::SOCKET != 0 => {}
                Ok((stat, identity)) => {
                    let (verdict, below) = match kind {
                        FileType::Unknown => {
                            self.rules.judge(&path, mode::is_directory(stat.mode), above)
                        }
                        _ => (verdict, below),
                    };
                    entries.push(Judged { stat, identity, verdict, below });
                }
                // It was deleted since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(WalkError::Read { path, source }),
            }
        }
        Ok(entries)
    }

    fn look(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        path: String,
    ) -> io::Result<(Stat, Option<(u64, u64)>)> {
        let found = sys::lstat(directory, name)?;
        let mut stat = describe(&found);
        stat.path = path;
        if mode::is_symlink(stat.mode) {
            stat.linkname = sys::read_link(directory, name)?;
        } else {
            stat.xattrs = sys::xattrs(directory, name, travels)
                .into_iter()
                .map(|(key, value)| (key, value.into()))
                .collect();
        }
        let linked = mode::is_regular(stat.mode) && found.st_nlink > 1;
        Ok((stat, linked.then_some((found.st_dev, found.st_ino))))
    }

    fn detect_link(&mut self, stat: &mut Stat, identity: Option<(u64, u64)>) {
        let Some(identity) = identity else { return };
        match self.links.get(&identity) {
            Some(first) => {
                stat.linkname.clone_from(first);
                stat.size = 0;
            }
            None => {
                self.links.insert(identity, stat.path.clone());
            }
        }
    }
}

/// Whether an extended attribute may travel: the users' own and file capabilities.
///
/// Overlayfs keeps its own marks among the users' attributes when it is mounted without privilege;
/// accepting them would let a sender delete or redirect files of a mount made later.
pub(crate) fn travels(key: &str) -> bool {
    (key.starts_with("user.") && !key.starts_with("user.overlay.")) || key == "security.capability"
}

/// What the kernel knows about an entry, as it travels; without path, link and attributes.
pub(crate) fn describe(found: &rustix::fs::Stat) -> Stat {
    let mode = mode::from_posix(found.st_mode);
    let (major, minor) = if mode & mode::DEVICE == 0 {
        (0, 0)
    } else {
        (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev))
    };
    Stat {
        mode,
        uid: found.st_uid,
        gid: found.st_gid,
        size: if mode::is_directory(mode) { 0 } else { found.st_size },
        mod_time: sys::modified_nanoseconds(found),
        devmajor: i64::from(major),
        devminor: i64::from(minor),
        ..Stat::default()
    }
}
