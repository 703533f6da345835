//! Which layer of an image a file came with.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use kiln_store::{Files, Snapshot};
use rustix::fs::{major, minor};

use crate::assemble::ImageLayer;

/// The layers of an image as directories, newest first.
pub(crate) struct LayerFiles(Vec<(Snapshot, String)>);

impl LayerFiles {
    /// The layers of a ref, and what they are in an image.
    pub(crate) fn of(files: &Files, layers: &[ImageLayer]) -> Self {
        let names = layers.iter().map(|layer| layer.descriptor.digest.to_string());
        let layers = files.layers().iter().cloned().zip(names);
        Self(layers.collect::<Vec<_>>().into_iter().rev().collect())
    }

    /// The digest of the newest layer that brought a file; one that was removed is found in the layer
    /// that it came with.
    pub(crate) fn layer_of(&self, name: &str) -> Option<String> {
        let path = normal(name)?;
        let found = self.0.iter().find(|(layer, _)| has(&layer.path(), &path));
        found.map(|(_, digest)| digest.clone())
    }
}

/// The path below a root; `None` for one that is none.
fn normal(name: &str) -> Option<PathBuf> {
    let mut path: Vec<OsString> = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(name) => path.push(name.to_owned()),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (!path.is_empty()).then(|| path.iter().collect())
}

/// Whether a layer has a file. No link is followed: in a layer it leads nowhere.
fn has(root: &Path, path: &Path) -> bool {
    let mut here = root.to_owned();
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        here.push(component);
        let Ok(metadata) = fs::symlink_metadata(&here) else { return false };
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let device = (major(metadata.rdev()), minor(metadata.rdev()));
        let is_whiteout = metadata.file_type().is_char_device() && device == (0, 0);
        if is_whiteout || (components.peek().is_some() && !metadata.is_dir()) {
            return false;
        }
    }
    true
}
