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
use crate::index::LayerRow;
use crate::layer::Layer;
use crate::owner;
use crate::store::Inner;
use crate::view::View;

/// The layer that `layer` has to be on top of `below`; `None` if it can stay as it is.
pub(crate) fn onto(
    store: &Arc<Inner>,
    below: &[Arc<Layer>],
    layer: &Arc<Layer>,
) -> Result<Option<Arc<Layer>>, StoreError> {
    if layer.is_view() {
        return Ok(None);
    }
    let corrections = Corrections::of(layer, &mut View::new(below, store.user_namespace))?;
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
}

impl Corrections {
    fn of(layer: &Layer, below: &mut View) -> Result<Self, StoreError> {
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
        Ok(Self { attributes, dropped })
    }

    fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.dropped.is_empty()
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
        if is_opaque(from, store.user_namespace) {
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
