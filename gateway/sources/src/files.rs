//! Small operations on trees that somebody else filled; no symbolic link is ever followed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// Runs file operations where waiting is fine.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Removes every file and directory of this name, at any depth.
pub(crate) fn remove_named(tree: &Path, name: &str) -> io::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let (path, is_directory) = (entry.path(), entry.file_type()?.is_dir());
        match (entry.file_name() == name, is_directory) {
            (true, true) => fs::remove_dir_all(path)?,
            (true, false) => fs::remove_file(path)?,
            (false, true) => remove_named(&path, name)?,
            (false, false) => {}
        }
    }
    Ok(())
}

/// The directory at a relative path, if every part of it is a directory itself.
pub(crate) fn directory_below(tree: &Path, relative: &str) -> Option<PathBuf> {
    let mut path = tree.to_owned();
    for part in relative.split('/').filter(|part| !part.is_empty() && *part != ".") {
        path.push(part);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if part == ".." || !is_directory {
            return None;
        }
    }
    Some(path)
}

/// Gives every entry of a tree, and the tree, one time (seconds since 1970).
pub(crate) fn set_times(tree: &Path, seconds: i64) -> io::Result<()> {
    if fs::symlink_metadata(tree)?.is_dir() {
        for entry in fs::read_dir(tree)? {
            set_times(&entry?.path(), seconds)?;
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, tree, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Lets everybody write to the regular files of a tree that are no programs.
pub(crate) fn let_all_write(tree: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in fs::read_dir(tree)? {
        let (path, metadata) = {
            let entry = entry?;
            (entry.path(), entry.metadata()?)
        };
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            let_all_write(&path)?;
        } else if metadata.is_file() && mode & 0o111 == 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o222))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_through_a_link_is_no_directory_below() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", tree.path().join("link")).unwrap();
        assert_eq!(directory_below(tree.path(), "a/./b"), Some(tree.path().join("a/b")));
        assert_eq!(directory_below(tree.path(), "link"), None);
        assert_eq!(directory_below(tree.path(), "a/.."), None);
    }

    #[test]
    fn programs_and_links_keep_their_modes_where_all_may_write() {
        use std::os::unix::fs::PermissionsExt as _;
        let tree = tempfile::tempdir().unwrap();
        let (file, program) = (tree.path().join("a/file"), tree.path().join("a/program"));
        fs::create_dir(tree.path().join("a")).unwrap();
        for (path, mode) in [(&file, 0o644), (&program, 0o755)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink(&program, tree.path().join("link")).unwrap();
        let_all_write(tree.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&program)), (0o666, 0o755));
    }
}
