//! Making and removing single files and directories.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{FileError, Ids, Implied, imply};
use kiln_container::scope;

use crate::sys;

/// Makes a directory. One that exists stays as it is. Those that are made above it are added to
/// `implied`.
pub(crate) fn make_dir(
    root: &Path,
    path: &str,
    mode: u32,
    parents: bool,
    owner: Option<Ids>,
    time: Option<i64>,
    implied: &mut Implied,
) -> Result<(), FileError> {
    let clean = scope::clean(path);
    let target = scope::resolve(root, &clean, true).map_err(FileError::io("resolve", &clean))?;
    if target.is_dir() {
        return Ok(());
    }
    if parents {
        let mut made = make_parents(root, &target, mode, owner, time)?;
        made.retain(|path| *path != target);
        imply(implied, root, &made);
        return Ok(());
    }
    fs::create_dir(&target).map_err(FileError::io("make directory", &clean))?;
    finish(root, &target, Some(mode), owner, time)
}

/// Makes every missing directory on the way to `target`, and `target` itself. Gives what was made.
pub(crate) fn make_parents(
    root: &Path,
    target: &Path,
    mode: u32,
    owner: Option<Ids>,
    time: Option<i64>,
) -> Result<Vec<PathBuf>, FileError> {
    let mut missing = Vec::new();
    let mut here = target;
    while here != root && fs::symlink_metadata(here).is_err() {
        missing.push(here.to_owned());
        let Some(parent) = here.parent() else { break };
        here = parent;
    }
    if !here.is_dir() {
        return Err(FileError::InTheWay(format!("{}: not a directory", scope::shown(root, here))));
    }
    for directory in missing.iter().rev() {
        fs::create_dir(directory)
            .map_err(FileError::io("make directory", scope::shown(root, directory)))?;
        finish(root, directory, Some(mode), owner, None)?;
    }
    // Last, because making a directory changes the time of the one above.
    missing.iter().try_for_each(|directory| finish(root, directory, None, None, time))?;
    Ok(missing)
}

/// Writes a file; one that exists is emptied first and keeps its permissions.
pub(crate) fn make_file(
    root: &Path,
    path: &str,
    mode: u32,
    data: &[u8],
    owner: Option<Ids>,
    time: Option<i64>,
) -> Result<(), FileError> {
    let clean = scope::clean(path);
    let target = scope::resolve(root, &clean, true).map_err(FileError::io("resolve", &clean))?;
    let new = fs::symlink_metadata(&target).is_err();
    let open =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&target);
    let mut file = open.map_err(FileError::io("write", &clean))?;
    file.write_all(data).map_err(FileError::io("write", &clean))?;
    drop(file);
    finish(root, &target, new.then_some(mode), owner, time)
}

/// Makes a symbolic link.
pub(crate) fn make_symlink(
    root: &Path,
    target: &str,
    path: &str,
    owner: Option<Ids>,
    time: Option<i64>,
) -> Result<(), FileError> {
    let clean = scope::clean(path);
    let link = scope::resolve(root, &clean, false).map_err(FileError::io("resolve", &clean))?;
    std::os::unix::fs::symlink(target, &link)
        .map_err(FileError::io("make symbolic link", &clean))?;
    finish(root, &link, None, owner, time)
}

/// Removes files and whole directories. A symbolic link is removed itself, never what it points to.
pub(crate) fn remove(
    root: &Path,
    path: &str,
    allow_not_found: bool,
    wildcard: bool,
) -> Result<(), FileError> {
    let clean = scope::clean(path);
    let paths = match wildcard {
        true => scope::expand(root, &clean).map_err(FileError::io("find", &clean))?,
        false => vec![clean.clone()],
    };
    for path in &paths {
        let target = scope::resolve(root, path, false).map_err(FileError::io("resolve", path))?;
        if target == root {
            empty(root)?;
            continue;
        }
        let removed = match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&target),
            Ok(_) => fs::remove_file(&target),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound && allow_not_found => {}
            removed => removed.map_err(FileError::io("remove", path))?,
        }
    }
    match paths.is_empty() && !allow_not_found {
        true => Err(FileError::Missing(clean)),
        false => Ok(()),
    }
}

fn empty(root: &Path) -> Result<(), FileError> {
    let failed = || FileError::io("remove", "/");
    for entry in fs::read_dir(root).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let is_dir = entry.file_type().map_err(failed())?.is_dir();
        let removed =
            if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.map_err(failed())?;
    }
    Ok(())
}

/// Owner, then permissions (a change of owner clears some of them), then time.
pub(crate) fn finish(
    root: &Path,
    target: &Path,
    mode: Option<u32>,
    owner: Option<Ids>,
    time: Option<i64>,
) -> Result<(), FileError> {
    let shown = || scope::shown(root, target);
    if let Some(Ids { uid, gid }) = owner {
        kiln_store::owner::set_owner(target, uid, gid)
            .map_err(FileError::io("change owner of", shown()))?;
    }
    if let Some(mode) = mode {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(target, permissions)
            .map_err(FileError::io("change permissions of", shown()))?;
    }
    if let Some(time) = time {
        sys::set_time(target, time.into()).map_err(FileError::io("change time of", shown()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_files_get_their_permissions_and_times() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut implied = Implied::new();
        make_dir(root, "/a/b", 0o700, true, None, Some(5_000_000_000), &mut implied).unwrap();
        assert_eq!(implied, [PathBuf::from("a")].into());
        make_file(root, "/a/b/f", 0o4755, b"hello", None, Some(7_000_000_000)).unwrap();
        make_file(root, "/a/b/f", 0o600, b"again", None, None).unwrap();
        make_symlink(root, "f", "/a/b/l", None, None).unwrap();
        let metadata = fs::metadata(root.join("a/b/f")).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(root.join("a/b/l")).unwrap(), "again");
        assert_eq!(fs::metadata(root.join("a")).unwrap().mtime(), 5);
        let missing = make_dir(root, "/x/y", 0o755, false, None, None, &mut implied).unwrap_err();
        assert_eq!(missing.to_string(), "/x/y: no such file or directory");
    }

    #[test]
    fn removing_takes_the_link_and_not_its_target() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("kept")).unwrap();
        make_symlink(root, "/kept", "/link", None, None).unwrap();
        remove(root, "/link", false, false).unwrap();
        assert!(root.join("kept").is_dir());
        assert!(remove(root, "/link", false, false).is_err());
        remove(root, "/link", true, false).unwrap();
        fs::write(root.join("a.o"), "").unwrap();
        fs::write(root.join("b.o"), "").unwrap();
        remove(root, "/*.o", false, true).unwrap();
        assert!(!root.join("a.o").exists() && !root.join("b.o").exists());
        assert!(remove(root, "/*.o", false, true).is_err());
    }
}
