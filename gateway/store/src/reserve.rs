//! Space kept back, so that deleting works on a full disk.
//!
//! To remove a row from the index, the index must write. A file of a few megabytes is made when the
//! store is opened; it is given up when a deletion finds no space, or when a full store is opened,
//! and made again once there is room. Nothing but deletions may use it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::privacy;

/// How much is kept back at most, in bytes.
const MOST: u64 = 4 << 20;
/// How much is kept back at least.
const LEAST: u64 = 256 << 10;
/// Which part of the disk is kept back between the two.
const PART: u64 = 64;
/// The file is only made where so many times its size are free.
const PLENTY: u64 = 8;

/// The reserve of a store.
#[derive(Debug)]
pub(crate) struct Reserve {
    root: PathBuf,
}

impl Reserve {
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Gives the space free; says whether there was any.
    pub(crate) fn release(&self) -> bool {
        let released = fs::remove_file(self.path()).is_ok();
        if released {
            tracing::warn!(root = %self.root.display(), "the disk is full; using the space kept back for deletions");
        }
        released
    }

    /// Gives the space free if hardly anything else is.
    pub(crate) fn release_if_full(&self) {
        if self.disk().is_some_and(|(size, free)| free < bytes(size)) {
            self.release();
        }
    }

    /// Makes the file if there is none and space for it. Failing that does not matter now.
    pub(crate) fn refill(&self) {
        let Some((size, free)) = self.disk() else { return };
        let (path, wanted) = (self.path(), bytes(size));
        let there = path.metadata().is_ok_and(|metadata| metadata.len() >= wanted);
        if !there && free >= wanted * PLENTY && fill(&path, wanted).is_none() {
            fs::remove_file(&path).ok();
        }
    }

    fn path(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The size of the disk, and what is free.
    fn disk(&self) -> Option<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.root).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some((bytes(disk.f_blocks), bytes(disk.f_bavail)))
    }
}

/// How much is kept back on a disk of this size.
fn bytes(disk: u64) -> u64 {
    (disk / PART).clamp(LEAST, MOST)
}

fn fill(path: &Path, wanted: u64) -> Option<()> {
    let mut file = privacy::open_file(path).ok()?;
    if rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, wanted).is_ok() {
        return Some(());
    }
    // A file system that cannot set space aside by word gets it by deed.
    let zeroes = vec![0; 64 << 10];
    for _ in 0..wanted / zeroes.len() as u64 {
        file.write_all(&zeroes).ok()?;
    }
    file.sync_data().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_part_of_the_disk_is_kept_back() {
        assert_eq!(bytes(6 << 20), 256 << 10);
        assert_eq!(bytes(64 << 20), 1 << 20);
        assert_eq!(bytes(1 << 40), 4 << 20);
    }

    #[test]
    fn a_reserve_is_made_and_given_up() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(directory.path());
        assert!(!reserve.release());
        reserve.refill();
        let metadata = reserve.path().metadata().unwrap();
        assert!(metadata.blocks() * 512 >= LEAST, "{metadata:?}");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(reserve.release() && !reserve.release());
    }
}
