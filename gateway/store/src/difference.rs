//! Compares two stacks of layers, and writes what differs as a layer.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use crate::attributes::{copy_attributes, is_opaque, set_times, xattrs};
use crate::error::StoreError;
use crate::extract::copy_entry;
use crate::layer::Snapshot;
use crate::owner;
use crate::view::{Found, View};

/// Writes into the empty directory `root` what turns `lower` into `upper` (bottom first each).
/// `None` if nothing does.
pub(crate) fn write(
    lower: &[Snapshot],
    upper: &[Snapshot],
    root: &Path,
    user_namespace: bool,
) -> Result<Option<Written>, StoreError> {
    let mut difference = Difference {
        lower: View::new(lower, user_namespace),
        upper: View::new(upper, user_namespace),
        // What changes again later must not be shared.
        link: !upper.iter().any(|layer| layer.is_view()),
        root,
        made: vec![(PathBuf::new(), upper.last().map(|layer| layer.path()))],
        implied: BTreeSet::from([PathBuf::new()]),
        written: false,
        whiteouts: false,
    };
    difference.compare()?;
    difference.finish()?;
    let implied = difference.implied.iter().filter_map(|path| path.to_str().map(Into::into));
    let written = Written { hides: difference.whiteouts, implied: implied.collect() };
    Ok(difference.written.then_some(written))
}

/// Whether a layer has nothing that is the same below it, and hides no directory as a whole that is
/// below it: what is moved away and back is copied up, and a directory that is made anew hides what
/// it takes the place of.
pub(crate) fn is_exact(
    below: &[Snapshot],
    layer: &Snapshot,
    user_namespace: bool,
) -> Result<bool, StoreError> {
    let root = layer.path();
    let mut below = View::new(below, user_namespace);
    if below.is_empty() {
        return Ok(true);
    }
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let path = root.join(&directory);
        let failed = |error| StoreError::io("list", &path, error);
        let mut is_empty = true;
        for entry in fs::read_dir(&path).map_err(failed)? {
            is_empty = false;
            let entry = entry.map_err(failed)?;
            let (name, metadata) =
                (directory.join(entry.file_name()), entry.metadata().map_err(failed)?);
            let before = below.look(&name).map_err(failed)?;
            // What is below something new is new.
            let Some(before) = before else { continue };
            let now = Found { path: entry.path(), metadata };
            match (before.metadata.is_dir(), now.metadata.is_dir()) {
                (true, true) if is_opaque(&now.path, user_namespace) => return Ok(false),
                (true, true) => pending.push(name),
                (false, false) if same(Some(&before), &now)? => return Ok(false),
                _ => {}
            }
        }
        if is_empty && directory != Path::new("") {
            let Some(before) = below.look(&directory).map_err(failed)? else { continue };
            let metadata = fs::symlink_metadata(&path).map_err(failed)?;
            if same(Some(&before), &Found { path: path.clone(), metadata })? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What a difference says.
pub(crate) struct Written {
    /// Something is hidden by it.
    pub(crate) hides: bool,
    /// Directories that do not differ, but what is below them does.
    pub(crate) implied: Vec<String>,
}

/// Writes into the empty directory `root` what turns `lower` (bottom first) into `copy`, a directory
/// that is given up afterwards.
pub(crate) fn write_copy(
    lower: &[Snapshot],
    copy: &Path,
    root: &Path,
    user_namespace: bool,
) -> Result<(), StoreError> {
    let mut difference = Difference {
        lower: View::new(lower, user_namespace),
        upper: View::of_directory(copy, user_namespace),
        link: true,
        root,
        made: vec![(PathBuf::new(), Some(copy.to_owned()))],
        implied: BTreeSet::from([PathBuf::new()]),
        written: false,
        whiteouts: false,
    };
    difference.compare()?;
    difference.finish()
}

struct Difference<'a> {
    lower: View,
    upper: View,
    link: bool,
    root: &'a Path,
    /// Directories made so far, and whose attributes they get.
    made: Vec<(PathBuf, Option<PathBuf>)>,
    /// Those of them that do not differ themselves.
    implied: BTreeSet<PathBuf>,
    written: bool,
    whiteouts: bool,
}

impl Difference<'_> {
    fn compare(&mut self) -> Result<(), StoreError> {
        // Directories to compare, and whether `lower` has them as directories too.
        let mut pending = vec![(PathBuf::new(), true)];
        while let Some((directory, both)) = pending.pop() {
            let failed = |error| StoreError::io("list", &directory, error);
            let old = if both {
                self.lower.list(&directory).map_err(failed)?
            } else {
                Default::default()
            };
            let new = self.upper.list(&directory).map_err(failed)?;
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                self.hide(&directory.join(name))?;
            }
            for (name, found) in &new {
                let path = directory.join(name);
                let before = old.get(name);
                let was_directory = before.is_some_and(|before| before.metadata.is_dir());
                if !same(before, found)? {
                    self.put(&path, found)?;
                }
                if found.metadata.is_dir() {
                    pending.push((path, was_directory));
                }
            }
        }
        Ok(())
    }

    /// Gives the directories their attributes and times, now that nothing is written any more.
    fn finish(&mut self) -> Result<(), StoreError> {
        for (path, from) in &self.made {
            let to = self.root.join(path);
            if let Some(from) = from {
                copy_attributes(from, &to)
                    .map_err(|error| StoreError::io("set attributes of", &to, error))?;
            } else {
                set_times(&to, 0, 0).map_err(|error| StoreError::io("set times of", &to, error))?;
            }
        }
        Ok(())
    }

    fn hide(&mut self, path: &Path) -> Result<(), StoreError> {
        self.make_parents(path)?;
        let to = self.root.join(path);
        rustix::fs::mknodat(CWD, &to, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|error| StoreError::io("create whiteout", &to, error))?;
        (self.written, self.whiteouts) = (true, true);
        Ok(())
    }

    fn put(&mut self, path: &Path, found: &Found) -> Result<(), StoreError> {
        self.make_parents(path)?;
        self.written = true;
        if found.metadata.is_dir() {
            self.implied.remove(path);
            return self.make_directory(path, &found.path);
        }
        let to = self.root.join(path);
        if self.link && fs::hard_link(&found.path, &to).is_ok() {
            return Ok(());
        }
        copy_entry(&found.path, &found.metadata, &to)
    }

    fn make_parents(&mut self, path: &Path) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for parent in path.ancestors().skip(1) {
            if self.root.join(parent).is_dir() {
                break;
            }
            missing.push(parent.to_owned());
        }
        for parent in missing.into_iter().rev() {
            let found = self
                .upper
                .look(&parent)
                .map_err(|error| StoreError::io("inspect", &parent, error))?;
            match found {
                Some(found) => {
                    self.make_directory(&parent, &found.path)?;
                    self.implied.insert(parent);
                }
                None => return Err(gone(&parent)),
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &Path, from: &Path) -> Result<(), StoreError> {
        let to = self.root.join(path);
        match fs::create_dir(&to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(StoreError::io("create directory", &to, error)),
        }
        self.made.push((path.to_owned(), Some(from.to_owned())));
        Ok(())
    }
}

fn gone(path: &Path) -> StoreError {
    StoreError::io("inspect", path, io::Error::from(io::ErrorKind::NotFound))
}

/// Whether two entries look the same to everybody who looks.
fn same(before: Option<&Found>, now: &Found) -> Result<bool, StoreError> {
    let Some(before) = before else { return Ok(false) };
    let failed = |error| StoreError::io("compare", &now.path, error);
    let (a, b) = (&before.metadata, &now.metadata);
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return Ok(true);
    }
    let owners = [(&before.path, a), (&now.path, b)].map(|(p, m)| owner::owner_of(p, m));
    if a.mode() != b.mode() || a.rdev() != b.rdev() || owners[0] != owners[1] {
        return Ok(false);
    }
    if xattrs(&before.path).map_err(failed)? != xattrs(&now.path).map_err(failed)? {
        return Ok(false);
    }
    if a.is_dir() {
        // Its time is that of its entries.
        return Ok(true);
    }
    if a.is_symlink() {
        let targets = [&before.path, &now.path].map(fs::read_link);
        return Ok(matches!(targets, [Ok(a), Ok(b)] if a == b));
    }
    if !same_time(a, b) {
        return Ok(false);
    }
    Ok(!a.is_file() || same_content(before, now).map_err(failed)?)
}

fn same_time(a: &Metadata, b: &Metadata) -> bool {
    (a.mtime(), a.mtime_nsec(), a.len()) == (b.mtime(), b.mtime_nsec(), b.len())
}

/// Times of whole seconds come from archives and say little, so the bytes are compared.
fn same_content(before: &Found, now: &Found) -> io::Result<bool> {
    if before.metadata.mtime_nsec() != 0 {
        return Ok(true);
    }
    let (mut a, mut b) = (File::open(&before.path)?, File::open(&now.path)?);
    let mut buffers = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = a.read(&mut buffers.0)?;
        if read == 0 {
            return Ok(b.read(&mut buffers.1)? == 0);
        }
        match b.read_exact(&mut buffers.1[..read]) {
            Ok(()) if buffers.0[..read] == buffers.1[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
