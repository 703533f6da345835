//! Layers seen as one directory without mounting anything: by copying them together.
//!
//! For processes that the kernel does not let mount overlays. It takes time and space, and shows
//! the same files. What is only looked at shares its files with the layers; what will be written is
//! copied for real, and compared with the layers afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::attributes::copy_attributes;
use crate::error::StoreError;
use crate::extract::copy_entry;
use crate::layer::Snapshot;
use crate::view::{Found, View};

/// What becomes of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nobody writes to it, so that files can be those of the layers.
    Read,
    /// It is written to.
    Write,
}

/// Copies what layers (bottom first) show together into the new directory `to`.
pub(crate) fn copy(
    layers: &[Snapshot],
    user_namespace: bool,
    to: &Path,
    purpose: Use,
) -> Result<(), StoreError> {
    let mut view = View::new(layers, user_namespace);
    fs::create_dir(to).map_err(|error| StoreError::io("create", to, error))?;
    // Attributes come last: a directory that may not be written could not be filled.
    let mut directories = vec![(layers.last().map(|layer| layer.path()), to.to_owned())];
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let listed = view.list(&directory);
        for (name, found) in listed.map_err(|error| StoreError::io("list", &directory, error))? {
            let path = directory.join(name);
            let target = to.join(&path);
            if found.metadata.is_dir() {
                fs::create_dir(&target)
                    .map_err(|error| StoreError::io("create", &target, error))?;
                directories.push((Some(found.path), target));
                pending.push(path);
            } else {
                copy_one(&found, &target, purpose)?;
            }
        }
    }
    for (from, to) in directories.into_iter().rev() {
        let Some(from) = from else { continue };
        copy_attributes(&from, &to)
            .map_err(|error| StoreError::io("set attributes of", &to, error))?;
    }
    Ok(())
}

fn copy_one(found: &Found, to: &Path, purpose: Use) -> Result<(), StoreError> {
    if purpose == Use::Read && fs::hard_link(&found.path, to).is_ok() {
        return Ok(());
    }
    copy_entry(&found.path, &found.metadata, to)
}
