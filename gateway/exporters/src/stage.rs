//! Shows a directory under another name, so that a client receives it as part of its target.
//!
//! A bind mount for reading only, which ends with its guard. The only system calls of this crate
//! that change anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

/// A directory with one directory in it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Removed after the mount in it.
    directory: tempfile::TempDir,
    point: PathBuf,
}

impl Stage {
    /// Shows `source` as `name`.
    pub(crate) fn new(source: &Path, name: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kiln-export-").tempdir()?;
        let point = directory.path().join(name);
        fs::create_dir(&point)?;
        let stage = Self { directory, point };
        rustix::mount::mount_bind(source, &stage.point)?;
        // Whoever cleans up what a crash left behind must not reach the store through it.
        rustix::mount::mount_remount(&stage.point, MountFlags::BIND | MountFlags::RDONLY, "")?;
        Ok(stage)
    }

    /// The directory that has the other in it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        rustix::mount::unmount(&self.point, UnmountFlags::DETACH).ok();
        fs::remove_dir(&self.point).ok();
    }
}
