//! Who may look into a state directory: its owner and nobody else.
//!
//! Snapshots hold the private files of builds, and set-user-id programs that nobody outside a build
//! must run; databases hold the names of everything. So directories are made with mode 0700 and
//! files with 0600 whatever the mask, and what an older version or a copy left open is closed when
//! the store is opened, with a word in the log.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::StoreError;

/// A directory of the store, and the root itself.
const DIRECTORY_MODE: u32 = 0o700;
/// A file in the root.
const FILE_MODE: u32 = 0o600;
/// Where everyone may write, and only the owner remove.
const STICKY: u32 = 0o1000;

/// The directories that Kiln keeps in a root. `empty` is none of them: it is the root of builds
/// from nothing, which any of their users may look into.
const DIRECTORIES: &[&str] = &[
    "blobs",
    "snapshots",
    "ingest",
    "mnt",
    "trash",
    "executor",
    "images",
    "run",
    "git",
    "history",
];

/// Whose a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Kiln's alone, so that it can be closed.
    Own,
    /// One with other things in it, whose mode is not Kiln's to change.
    Shared,
}

/// Makes the root if there is none, and finds out whose it is.
pub(crate) fn prepare(root: &Path) -> Result<Root, StoreError> {
    make_directory(root)?;
    let failed = |error| StoreError::io("list", root, error);
    let known = root.join("kiln.lock").exists();
    let empty = || Ok::<_, StoreError>(fs::read_dir(root).map_err(failed)?.next().is_none());
    let sticky = fs::metadata(root).map_err(failed)?.mode() & STICKY != 0;
    Ok(if !sticky && (known || empty()?) { Root::Own } else { Root::Shared })
}

/// Makes a directory, and those above it, for this user alone.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
    made.map_err(|error| StoreError::io("create", path, error))
}

/// Opens a file for this user alone, making an empty one if there is none.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Closes everything in a root to other users, and the root itself if it is Kiln's alone.
pub(crate) fn close(root: &Path, whose: Root) {
    match whose {
        Root::Own => mend(root, DIRECTORY_MODE),
        Root::Shared => {
            let path = root.display();
            tracing::debug!(%path, "the state directory holds other things; its mode is left alone");
        }
    }
    for name in DIRECTORIES {
        mend(&root.join(name), DIRECTORY_MODE);
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let known = matches!(&*name, "kiln.lock" | "workerid" | "reserve");
        if (known || name.contains(".redb")) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            mend(&entry.path(), FILE_MODE);
        }
    }
}

/// Takes every right beyond `wanted` away.
fn mend(path: &Path, wanted: u32) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        tracing::warn!(path = %shown, uid = metadata.uid(), "belongs to another user, who may look into it");
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !wanted == 0 {
        return;
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode & wanted)) {
        Ok(()) => {
            tracing::warn!(path = %shown, was = format!("{mode:04o}"), now = format!("{:04o}", mode & wanted),
                "was open to other users; closed it");
        }
        Err(error) => {
            tracing::warn!(path = %shown, mode = format!("{mode:04o}"), %error,
                "is open to other users, and cannot be closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn open_up(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_root_of_an_older_version_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("snapshots")).unwrap();
        for name in ["kiln.lock", "metadata.redb", "metadata.redb.broken", "cache.redb", "notes"] {
            fs::write(root.join(name), "").unwrap();
            open_up(&root.join(name), 0o644);
        }
        open_up(root, 0o755);
        open_up(&root.join("snapshots"), 0o755);
        let whose = prepare(root).unwrap();
        assert_eq!(whose, Root::Own);
        close(root, whose);
        assert_eq!((mode(root), mode(&root.join("snapshots"))), (0o700, 0o700));
        for name in ["kiln.lock", "metadata.redb", "metadata.redb.broken", "cache.redb"] {
            assert_eq!(mode(&root.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&root.join("notes")), 0o644);
    }

    #[test]
    fn a_directory_with_other_things_keeps_its_mode_but_kilns_own_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("letters"), "").unwrap();
        fs::create_dir(root.join("blobs")).unwrap();
        open_up(root, 0o755);
        let whose = prepare(root).unwrap();
        assert_eq!(whose, Root::Shared);
        close(root, whose);
        assert_eq!((mode(root), mode(&root.join("blobs"))), (0o755, 0o700));
        // Nor is a place for everyone closed, not even an empty one.
        let all = tempfile::tempdir().unwrap();
        open_up(all.path(), 0o1777);
        assert_eq!(prepare(all.path()).unwrap(), Root::Shared);
    }

    #[test]
    fn a_new_root_is_closed_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b");
        assert_eq!(prepare(&root).unwrap(), Root::Own);
        assert_eq!(mode(&root), 0o700);
        open_file(&root.join("workerid")).unwrap();
        assert_eq!(mode(&root.join("workerid")), 0o600);
    }
}
