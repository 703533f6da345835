//! Shows trees as one directory that a client receives: a tree itself, under the name of its
//! platform, or several on top of each other.
//!
//! Mounts for reading only, which end with their guard. The only system calls of this crate that
//! change anything.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::tree::Tree;

/// Trees as one directory.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A tree where it is.
    Plain(PathBuf),
    /// A directory in which things are mounted.
    Mounted {
        /// Removed after the mounts in it.
        directory: tempfile::TempDir,
        points: Vec<PathBuf>,
        /// What is shown of it.
        shown: PathBuf,
    },
}

impl Stage {
    /// Shows trees. Either all are put below a name or none is, and files do not clash.
    pub(crate) fn of(trees: &[Tree]) -> io::Result<Self> {
        match trees {
            [Tree { below: None, root, .. }] => Ok(Self::Plain(root.clone())),
            trees => {
                let directory = tempfile::Builder::new().prefix("kiln-export-").tempdir()?;
                let shown = directory.path().to_owned();
                let mut stage = Self::Mounted { directory, points: Vec::new(), shown };
                stage.mount(trees)?;
                Ok(stage)
            }
        }
    }

    fn mount(&mut self, trees: &[Tree]) -> io::Result<()> {
        let Self::Mounted { directory, points, shown } = self else { return Ok(()) };
        if trees.iter().all(|tree| tree.below.is_none()) {
            let point = directory.path().join("all");
            fs::create_dir(&point)?;
            mount_together(trees, &point)?;
            points.push(point.clone());
            *shown = point;
            return Ok(());
        }
        // Trees with one name are neighbours.
        for trees in trees.chunk_by(|a, b| a.below == b.below) {
            let [tree, further @ ..] = trees else { continue };
            let point = directory.path().join(tree.below.as_deref().unwrap_or_default());
            fs::create_dir(&point)?;
            match further.is_empty() {
                true => rustix::mount::mount_bind(&tree.root, &point)?,
                false => mount_together(trees, &point)?,
            }
            points.push(point.clone());
            if !further.is_empty() {
                continue;
            }
            // Whoever cleans up what a crash left behind must not reach the store through it.
            rustix::mount::mount_remount(&point, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        Ok(())
    }

    /// The directory that shows them.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Plain(path) | Self::Mounted { shown: path, .. } => path,
        }
    }
}

/// Mounts trees on top of each other: on top those that are put into others, then the first.
fn mount_together(trees: &[Tree], point: &Path) -> io::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    let (extra, others): (Vec<&Tree>, Vec<&Tree>) = trees.iter().partition(|tree| tree.is_extra);
    for (index, tree) in extra.into_iter().chain(others).enumerate() {
        if index > 0 {
            options.push(b':');
        }
        for byte in tree.root.as_os_str().as_bytes() {
            if matches!(byte, b',' | b':' | b'\\') {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    let options = CString::new(options).map_err(io::Error::other)?;
    let flags = MountFlags::RDONLY;
    Ok(rustix::mount::mount("overlay", point, "overlay", flags, options.as_c_str())?)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Self::Mounted { points, .. } = self else { return };
        for point in points {
            // Fails where nothing was mounted.
            rustix::mount::unmount(&*point, UnmountFlags::DETACH).ok();
            fs::remove_dir(point).ok();
        }
    }
}
