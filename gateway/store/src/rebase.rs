//! Puts a layer on top of others than it was made for.
//!
//! What a layer says about directories that it only has on the way to its files is not meant for
//! those that are below it now, and what it deletes may not be there. Then a layer takes its place
//! that shares the files and says only what is meant. The decision ([`Corrections`]) is made from the
//! layers alone, the writing follows it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::attributes::{copy_attributes, is_opaque, is_whiteout, opaque_name, xattrs};
use crate::error::StoreError;
use crate::extract::copy_entry;
use crate::growing_view::GrowingView;
use crate::index::LayerRow;
use crate::layer::{Layer, Snapshot};
use crate::owner;
use crate::store::Inner;
use crate::view::View;

/// The layer that `layer`, which was made on `own`, has to be on top of what `below` shows; `None` if it
/// can stay as it is.
pub(crate) fn onto(
    store: &Arc<Inner>,
    below: &mut GrowingView,
    layer: &Snapshot,
    own: &[Snapshot],
) -> Result<Option<Snapshot>, StoreError> {
    // What neither deletes nor has more than it was asked to have means the same everywhere.
    if layer.is_view() || (!layer.may_hide() && layer.row().implied.is_empty()) {
        return Ok(None);
    }
    let mut corrections = Corrections::of(layer, below)?;
    if layer.may_hide() {
        let mut own = View::new(own, store.user_namespace);
        corrections.open(&layer.path(), below, &mut own, store.user_namespace)?;
    }
    if corrections.is_empty() {
        return Ok(None);
    }
    store.check_reserve()?;
    let number = store.new_snapshot()?;
    let written = corrections.write(&layer.path(), &store.layer_files(number), store);
    if let Err(error) = written {
        store.abandon(number);
        return Err(error);
    }
    let (whiteouts, implied) = (layer.may_hide(), layer.row().implied.clone());
    let row = LayerRow { whiteouts, implied, ..LayerRow::default() };
    Ok(Some(Layer::register(store, number, row)))
}

/// What a layer says that is not meant.
struct Corrections {
    /// Directories, and whose attributes they get.
    attributes: Vec<(PathBuf, PathBuf)>,
    /// Whiteouts of what is not there.
    dropped: BTreeSet<PathBuf>,
    /// Directories that hide no more than what they took the place of.
    opened: BTreeSet<PathBuf>,
    /// What they hide instead.
    hidden: Vec<PathBuf>,
}

impl Corrections {
    fn of(layer: &Snapshot, below: &mut GrowingView) -> Result<Self, StoreError> {
        let (root, row) = (layer.path(), layer.row().clone());
        let mut attributes = Vec::new();
        for path in &row.implied {
            let path = Path::new(path);
            let failed = |error| StoreError::io("inspect", &root.join(path), error);
            if let Some(found) = below.look(path).map_err(failed)?
                && found.metadata.is_dir()
                && !same_attributes(&found.path, &root.join(path)).map_err(failed)?
            {
                attributes.push((path.to_owned(), found.path));
            }
        }
        let mut dropped = BTreeSet::new();
        if row.whiteouts {
            for path in whiteouts(&root)? {
                let failed = |error| StoreError::io("inspect", &root.join(&path), error);
                if below.look(&path).map_err(failed)?.is_none() {
                    dropped.insert(path);
                }
            }
        }
        Ok(Self { attributes, dropped, opened: BTreeSet::new(), hidden: Vec::new() })
    }

    fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.dropped.is_empty() && self.opened.is_empty()
    }

    /// A directory that hides everything below it was made anew where there was another one. Here it
    /// hides what that had, and not what others have put there.
    fn open(
        &mut self,
        root: &Path,
        below: &mut GrowingView,
        own: &mut View,
        user_namespace: bool,
    ) -> Result<(), StoreError> {
        // Directories, and whether something above them hides what was below.
        let mut pending = vec![(PathBuf::new(), false)];
        while let Some((directory, is_hidden)) = pending.pop() {
            let path = root.join(&directory);
            let failed = |error| StoreError::io("list", &path, error);
            let found = below.look(&directory).map_err(failed)?;
            if !found.is_some_and(|found| found.metadata.is_dir()) {
                continue;
            }
            let is_opaque = is_opaque(&path, user_namespace);
            let is_hidden = is_hidden || is_opaque;
            if is_opaque {
                self.opened.insert(directory.clone());
            }
            let mut names = BTreeSet::new();
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                names.insert(entry.file_name());
                if entry.file_type().map_err(failed)?.is_dir() {
                    pending.push((directory.join(entry.file_name()), is_hidden));
                }
            }
            if is_hidden {
                let had = own.list(&directory).map_err(failed)?.into_keys();
                for name in had.filter(|name| !names.contains(name)) {
                    let gone = directory.join(name);
                    if below.look(&gone).map_err(failed)?.is_some() {
                        self.hidden.push(gone);
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&self, from: &Path, to: &Path, store: &Inner) -> Result<(), StoreError> {
        let mut directories = vec![PathBuf::new()];
        let mut next = 0;
        while let Some(directory) = directories.get(next).cloned() {
            next += 1;
            let path = from.join(&directory);
            for entry in
                fs::read_dir(&path).map_err(|error| StoreError::io("list", &path, error))?
            {
                let entry = entry.map_err(|error| StoreError::io("list", &path, error))?;
                let name = directory.join(entry.file_name());
                let metadata = entry.metadata();
                let metadata =
                    metadata.map_err(|error| StoreError::io("inspect", &entry.path(), error))?;
                let target = to.join(&name);
                if metadata.is_dir() {
                    fs::create_dir(&target)
                        .map_err(|error| StoreError::io("create directory", &target, error))?;
                    directories.push(name);
                } else if is_whiteout(&metadata) {
                    if !self.dropped.contains(&name) {
                        hide(&target)?;
                    }
                } else if fs::hard_link(entry.path(), &target).is_err() {
                    copy_entry(&entry.path(), &metadata, &target)?;
                }
            }
        }
        for path in &self.hidden {
            hide(&to.join(path))?;
        }
        // Children first, because their making changes the times of those above.
        for directory in directories.iter().rev() {
            self.finish(&from.join(directory), directory, &to.join(directory), store)?;
        }
        Ok(())
    }

    /// Gives a directory its attributes.
    fn finish(&self, from: &Path, name: &Path, to: &Path, store: &Inner) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::io("set attributes of", to, error);
        let other = self.attributes.iter().find(|(path, _)| path == name);
        if is_opaque(from, store.user_namespace) && !self.opened.contains(name) {
            let name = opaque_name(store.user_namespace);
            rustix::fs::lsetxattr(to, name, b"y", XattrFlags::empty())
                .map_err(|error| failed(error.into()))?;
        }
        copy_attributes(other.map_or(from, |(_, below)| below), to).map_err(failed)
    }
}

fn hide(path: &Path) -> Result<(), StoreError> {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(|error| StoreError::io("create whiteout", path, error))
}

/// The whiteouts of a layer.
fn whiteouts(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let path = root.join(&directory);
        let failed = |error| StoreError::io("list", &path, error);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = directory.join(entry.file_name());
            if kind.is_dir() {
                pending.push(name);
            } else if entry.metadata().is_ok_and(|metadata| is_whiteout(&metadata)) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// Whether two directories have the same owner, permissions and extended attributes.
fn same_attributes(a: &Path, b: &Path) -> io::Result<bool> {
    let of = |path: &Path| {
        let metadata = fs::symlink_metadata(path)?;
        let owner = owner::owner_of(path, &metadata);
        Ok::<_, io::Error>((metadata.mode(), owner, xattrs(path)?))
    };
    Ok(of(a)? == of(b)?)
}
