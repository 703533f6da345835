//! Locks in the form of files, which are free again when the process has ended in whatever way.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Locks the file at `path`, which is made if it is not there; nothing if another has it.
pub(crate) fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    loop {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(path)?;
        match flock(&file, operation) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            result => result?,
        }
        // It may have been removed between the two.
        let (own, named) = (file.metadata()?, fs::metadata(path));
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_processs_and_free_when_it_is_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let held = lock(&path, exclusive).unwrap().unwrap();
        assert!(lock(&path, exclusive).unwrap().is_none());
        drop(held);
        let shared = FlockOperation::NonBlockingLockShared;
        let both = (lock(&path, shared).unwrap(), lock(&path, shared).unwrap());
        assert!(both.0.is_some() && both.1.is_some());
        assert!(lock(&path, exclusive).unwrap().is_none());
    }
}
