//! Paths inside a file system that is somebody else's.
//!
//! Every path an operation names is resolved here, component by component: symbolic links are
//! followed as if the root were `/`, `..` stops at it, and nothing outside is ever touched. The
//! views these paths are in belong to one operation at a time, so nobody changes them meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use kiln_filesync::glob::{self, Glob};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The most symbolic links one path may go through.
const MAX_LINKS: usize = 255;

/// Resolves `path` below `root`. With `follow_last`, a symbolic link at the end is followed too.
///
/// Components that do not exist are taken as they are, so the result may name a new file.
///
/// # Errors
///
/// If there are too many links, or a directory cannot be read.
pub fn resolve(root: &Path, path: &str, follow_last: bool) -> io::Result<PathBuf> {
    let mut links = 0;
    let mut open: Vec<PathBuf> = components(Path::new(path));
    let mut inside: Vec<PathBuf> = Vec::new();
    open.reverse();
    while let Some(next) = open.pop() {
        if next == Path::new("..") {
            inside.pop();
            continue;
        }
        let here = root.join(inside.iter().collect::<PathBuf>()).join(&next);
        let follow = follow_last || !open.is_empty();
        match std::fs::symlink_metadata(&here) {
            Ok(metadata) if metadata.is_symlink() && follow => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!("{path}: too many symbolic links")));
                }
                let target = std::fs::read_link(&here)?;
                if target.is_absolute() {
                    inside.clear();
                }
                open.extend(components(&target).into_iter().rev());
            }
            Ok(_) => inside.push(next),
            Err(error) if missing(&error) => inside.push(next),
            Err(error) => return Err(error),
        }
    }
    Ok(root.join(inside.iter().collect::<PathBuf>()))
}

/// Opens what is at `path` below `root`, links followed, without access to its content. The kernel
/// sees to it that nothing leads out of the root, whoever changes links meanwhile.
///
/// # Errors
///
/// If there is nothing.
pub fn open(root: &Path, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "/" } else { path };
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), inside)?)
}

/// Normal components and `..`, without roots and dots.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path as the user knows it: absolute, `.` and `..` folded away by text alone.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a path means "into that directory".
pub fn is_directory_path(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "." || path.is_empty()
}

/// All paths below `root` that fit a pattern such as `/src/*.c`, sorted; relative to the root.
///
/// # Errors
///
/// If the pattern is malformed or a directory cannot be read.
pub fn expand(root: &Path, pattern: &str) -> io::Result<Vec<String>> {
    let pattern = clean(pattern);
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for base in &found {
            let here = resolve(root, base, true)?;
            if !glob::has_wildcard(part) {
                let path = format!("{base}/{part}");
                if std::fs::symlink_metadata(here.join(part)).is_ok() {
                    next.push(path);
                }
                continue;
            }
            let Ok(entries) = std::fs::read_dir(&here) else { continue };
            let glob = Glob::parse(part)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
            for entry in entries {
                let name = entry?.file_name();
                if let Some(name) = name.to_str()
                    && glob.matches(name)
                {
                    next.push(format!("{base}/{name}"));
                }
            }
        }
        next.sort();
        found = next;
    }
    Ok(found)
}

/// A path below `root` as the user knows it.
pub fn shown(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", String::from_utf8_lossy(inside.as_os_str().as_bytes()))
}

/// The last component of a path, as the user wrote it.
pub fn base_name(path: &str) -> Option<&OsStr> {
    Path::new(path).file_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/a", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.join("a/out")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(resolve(root, "absolute/b", true).unwrap(), root.join("a/b"));
        assert_eq!(resolve(root, "a/out/passwd", true).unwrap(), root.join("etc/passwd"));
        assert_eq!(resolve(root, "../../x", true).unwrap(), root.join("x"));
        assert_eq!(resolve(root, "absolute", false).unwrap(), root.join("absolute"));
        assert!(resolve(root, "loop", true).is_err());
    }

    #[test]
    fn what_is_opened_is_inside_whatever_links_say() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir(root.join("a")).unwrap();
        std::fs::write(root.join("a/file"), "inside").unwrap();
        std::os::unix::fs::symlink("/a/file", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../proc/self/status", root.join("a/out")).unwrap();
        for path in ["a/file", "/a/file", "absolute", "../../a/file"] {
            assert!(open(root, path).is_ok(), "{path}");
        }
        for path in ["a/out", "missing", "a/file/b"] {
            assert!(open(root, path).is_err(), "{path}");
        }
    }

    #[test]
    fn patterns_find_what_fits_in_order() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.c", "a.c", "a.h"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(expand(root.path(), "*.c").unwrap(), ["/a.c", "/b.c"]);
        assert_eq!(expand(root.path(), "/a.h").unwrap(), ["/a.h"]);
        assert!(expand(root.path(), "[").is_err());
    }
}
