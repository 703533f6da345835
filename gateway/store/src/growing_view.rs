//! A stack of layers seen as one directory, while it grows.
//!
//! The rules are those of [`crate::view`]. What was looked at before is looked at in the new layers only:
//! looking at something after each of many layers takes as long as looking at it in all of them once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::attributes::{is_opaque, is_whiteout};
use crate::view::Found;

/// Layers as one directory, to which others are added.
pub(crate) struct GrowingView {
    /// Directories of the layers, bottom first.
    layers: Vec<PathBuf>,
    user_namespace: bool,
    /// Directories that were looked into.
    directories: HashMap<PathBuf, Directory>,
}

/// What is known of one directory.
#[derive(Default)]
struct Directory {
    /// How many layers were looked at.
    seen: usize,
    /// The lowest of the layers that made up the directory above.
    above: Option<usize>,
    /// The layers that make it up, bottom first. None, if there is no such directory.
    layers: Vec<usize>,
    /// The layers among these that have an entry of a name, bottom first.
    names: HashMap<OsString, Vec<usize>>,
}

impl Directory {
    /// Forgets what is hidden by something above it.
    fn clear(&mut self) {
        self.layers.clear();
        self.names.clear();
    }
}

impl GrowingView {
    /// A view without layers.
    pub(crate) fn new(user_namespace: bool) -> Self {
        Self { layers: Vec::new(), user_namespace, directories: HashMap::new() }
    }

    /// Puts another layer on top.
    pub(crate) fn push(&mut self, layer: PathBuf) {
        self.layers.push(layer);
    }

    /// The entry at a path relative to the root, whose parents must be real directories.
    pub(crate) fn look(&mut self, path: &Path) -> io::Result<Option<Found>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let Some(root) = self.layers.last() else { return Ok(None) };
            let (path, metadata) = (root.clone(), fs::symlink_metadata(root)?);
            return Ok(Some(Found { path, metadata }));
        };
        self.look_into(parent)?;
        let directory = self.directories.get(parent);
        let Some(top) = directory.and_then(|directory| directory.names.get(name)?.last()) else {
            return Ok(None);
        };
        let path = self.layers[*top].join(path);
        let metadata = fs::symlink_metadata(&path)?;
        Ok((!is_whiteout(&metadata)).then_some(Found { path, metadata }))
    }

    /// Brings what is known of a directory, and of those above it, up to date.
    fn look_into(&mut self, path: &Path) -> io::Result<()> {
        let parent = path.parent();
        if let Some(parent) = parent {
            self.look_into(parent)?;
        }
        let mut directory = self.directories.remove(path).unwrap_or_default();
        let new = match (parent, path.file_name()) {
            (Some(parent), Some(name)) => {
                let above = &self.directories[parent];
                let lowest = above.layers.first().copied();
                if lowest != directory.above {
                    // Something hides what it was made up of.
                    directory.clear();
                    directory.above = lowest;
                    directory.seen = lowest.unwrap_or(self.layers.len());
                }
                let all = above.names.get(name).map(Vec::as_slice).unwrap_or_default();
                all[all.partition_point(|layer| *layer < directory.seen)..].to_vec()
            }
            _ => (directory.seen..self.layers.len()).collect(),
        };
        for layer in new {
            self.add(layer, path, &mut directory)?;
        }
        directory.seen = self.layers.len();
        self.directories.insert(path.to_owned(), directory);
        Ok(())
    }

    /// Adds what a layer has of a directory.
    fn add(&self, layer: usize, path: &Path, directory: &mut Directory) -> io::Result<()> {
        let place = self.layers[layer].join(path);
        // A whiteout is no directory either.
        if !fs::symlink_metadata(&place)?.is_dir() {
            directory.clear();
            return Ok(());
        }
        if is_opaque(&place, self.user_namespace) {
            directory.clear();
        }
        directory.layers.push(layer);
        for entry in fs::read_dir(&place)? {
            directory.names.entry(entry?.file_name()).or_default().push(layer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, XattrFlags};

    use super::*;
    use crate::attributes::opaque_name;
    use crate::view::View;

    /// The next of some numbers that look like chance.
    fn next(state: &mut u64, below: u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    /// Writes a layer of files, directories, whiteouts and opaque directories with few names.
    fn write(layer: &Path, state: &mut u64) -> io::Result<()> {
        let mut open = vec![(layer.to_owned(), 0)];
        while let Some((directory, depth)) = open.pop() {
            fs::create_dir(&directory)?;
            if depth > 0 && next(state, 6) == 0 {
                rustix::fs::lsetxattr(&directory, opaque_name(true), b"y", XattrFlags::empty())?;
            }
            for name in ["a", "b", "c"] {
                let path = directory.join(name);
                match next(state, 8) {
                    0 => fs::write(path, "")?,
                    1 => rustix::fs::mknodat(
                        CWD,
                        &path,
                        FileType::CharacterDevice,
                        Mode::empty(),
                        0,
                    )?,
                    2..=4 if depth < 3 => open.push((path, depth + 1)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn all_paths() -> Vec<PathBuf> {
        let mut paths = vec![PathBuf::new()];
        for depth in 0..4 {
            let last: Vec<_> =
                paths.iter().filter(|path| path.iter().count() == depth).cloned().collect();
            paths.extend(last.iter().flat_map(|path| ["a", "b", "c"].map(|name| path.join(name))));
        }
        paths
    }

    #[test]
    fn it_shows_what_a_view_of_all_layers_shows_after_each_of_them() {
        let paths = all_paths();
        let mut hidden = 0;
        for seed in 1..30 {
            let root = tempfile::tempdir().unwrap();
            let mut state = seed;
            let mut growing = GrowingView::new(true);
            let mut layers = Vec::new();
            for number in 0..8 {
                let layer = root.path().join(number.to_string());
                match write(&layer, &mut state) {
                    // Neither whiteouts nor attributes can be made by everyone everywhere.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
                    written => written.unwrap(),
                }
                layers.push(layer.clone());
                growing.push(layer);
                let mut view = View::of(layers.iter().rev().cloned().collect(), true);
                // Not everything is looked at every time.
                for path in paths.iter().filter(|_| next(&mut state, 3) == 0) {
                    let shown = |found: io::Result<Option<Found>>| {
                        found.unwrap().map(|found| (found.path, found.metadata.is_dir()))
                    };
                    let expected = shown(view.look(path));
                    hidden += usize::from(expected.is_none());
                    assert_eq!(shown(growing.look(path)), expected, "{seed}: {}", path.display());
                }
            }
        }
        assert!(hidden > 100);
    }

    #[test]
    fn a_layer_is_read_once_however_often_others_are_put_on_it() {
        let root = tempfile::tempdir().unwrap();
        let mut growing = GrowingView::new(true);
        for number in 0..4 {
            let layer = root.path().join(number.to_string());
            fs::create_dir_all(layer.join(format!("d/{number}"))).unwrap();
            growing.push(layer);
            assert!(growing.look(Path::new(&format!("d/{number}"))).unwrap().is_some());
        }
        // What was read of it is remembered, and nothing of it is looked at again.
        fs::remove_dir_all(root.path().join("0")).unwrap();
        assert!(growing.look(Path::new("d/x")).unwrap().is_none());
        assert!(growing.look(Path::new("d/3")).unwrap().is_some());
    }
}
