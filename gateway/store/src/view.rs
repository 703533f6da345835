//! A stack of layers seen as one directory, by reading the layers themselves: no mount is needed.
//!
//! Follows the rules of overlayfs: the topmost entry of a name wins, a whiteout hides what is
//! below, directories merge unless one is opaque. Symbolic links are never followed; who wants to
//! follow one does so with another look.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attributes::{is_opaque, is_whiteout};
use crate::layer::Snapshot;

/// Layers as one directory.
pub(crate) struct View {
    /// Directories of the layers, top first.
    roots: Vec<PathBuf>,
    user_namespace: bool,
    /// Which roots make up a directory, for those looked at before.
    directories: HashMap<PathBuf, Arc<Vec<usize>>>,
}

/// One entry of a view.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it is really.
    pub(crate) path: PathBuf,
    pub(crate) metadata: Metadata,
}

impl View {
    /// The view of layers, given bottom first.
    pub(crate) fn new(layers: &[Snapshot], user_namespace: bool) -> Self {
        Self::of(layers.iter().rev().map(|layer| layer.path()).collect(), user_namespace)
    }

    /// The view of a single directory.
    pub(crate) fn of_directory(directory: &Path, user_namespace: bool) -> Self {
        Self::of(vec![directory.to_owned()], user_namespace)
    }

    /// The view of directories, top first.
    pub(crate) fn of(roots: Vec<PathBuf>, user_namespace: bool) -> Self {
        let all = Arc::new((0..roots.len()).collect());
        Self { roots, user_namespace, directories: HashMap::from([(PathBuf::new(), all)]) }
    }

    /// Whether there are no layers at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The entry at a path relative to the root, whose parents must be real directories.
    pub(crate) fn look(&mut self, path: &Path) -> io::Result<Option<Found>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let Some(root) = self.roots.first() else { return Ok(None) };
            let (path, metadata) = (root.clone(), fs::symlink_metadata(root)?);
            return Ok(Some(Found { path, metadata }));
        };
        let Some(roots) = self.directory(parent)? else { return Ok(None) };
        Ok(self.entry(&roots, parent, name)?.map(|(found, _)| found))
    }

    /// The entries of a directory, by name.
    pub(crate) fn list(&mut self, path: &Path) -> io::Result<BTreeMap<OsString, Found>> {
        let mut entries = BTreeMap::new();
        let Some(roots) = self.directory(path)? else { return Ok(entries) };
        let mut hidden = std::collections::BTreeSet::new();
        for &root in roots.iter() {
            for entry in fs::read_dir(self.roots[root].join(path))? {
                let entry = entry?;
                let name = entry.file_name();
                if hidden.contains(&name) || entries.contains_key(&name) {
                    continue;
                }
                let metadata = entry.metadata()?;
                if is_whiteout(&metadata) {
                    hidden.insert(name);
                } else {
                    entries.insert(name, Found { path: entry.path(), metadata });
                }
            }
        }
        Ok(entries)
    }

    /// The roots that make up a directory, top first; `None` if there is no such directory.
    fn directory(&mut self, path: &Path) -> io::Result<Option<Arc<Vec<usize>>>> {
        if let Some(roots) = self.directories.get(path) {
            return Ok(Some(roots.clone()));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        let Some(above) = self.directory(parent)? else { return Ok(None) };
        let Some((_, roots)) = self.entry(&above, parent, name)?.filter(|(_, r)| !r.is_empty())
        else {
            return Ok(None);
        };
        let roots = Arc::new(roots);
        self.directories.insert(path.to_owned(), roots.clone());
        Ok(Some(roots))
    }

    /// An entry of a directory that `roots` make up; if it is a directory, with its own roots.
    fn entry(
        &self,
        roots: &[usize],
        parent: &Path,
        name: &OsStr,
    ) -> io::Result<Option<(Found, Vec<usize>)>> {
        let mut first = None;
        let mut merged = Vec::new();
        for &root in roots {
            let path = self.roots[root].join(parent).join(name);
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if is_whiteout(&metadata) {
                break;
            }
            let directory = metadata.is_dir();
            if directory {
                merged.push(root);
            }
            let last = !directory || is_opaque(&path, self.user_namespace);
            first.get_or_insert(Found { path, metadata });
            if last {
                break;
            }
        }
        Ok(first.map(|found| (found, merged)))
    }
}
