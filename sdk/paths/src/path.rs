//! Paths as they travel: relative, clean, separated by `/`, in one fixed order.
//!
//! [`check`] is the check every received path goes through; behind it a path can be joined to a
//! directory without another look. [`clean`] and `join` tidy what people and ignore files write.

use std::cmp::Ordering;

/// The longest path accepted, in bytes (Linux's `PATH_MAX` without its NUL).
pub const MAX_BYTES: usize = 4095;
/// The longest name of one entry, in bytes (`NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;

/// Why a path is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing in it.
    #[error("empty path")]
    Empty,
    /// Longer than a file system takes.
    #[error("path of {0} bytes is too long")]
    TooLong(usize),
    /// Begins with a slash, or has an empty, `.` or `..` part, or a NUL.
    #[error("path {0:?} is not a clean relative path")]
    Unclean(String),
}

/// Accepts a clean relative path and nothing else.
///
/// # Errors
///
/// See [`PathError`].
pub fn check(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_BYTES {
        return Err(PathError::TooLong(path.len()));
    }
    let good = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_BYTES;
    if path.contains('\0') || !path.split('/').all(good) {
        return Err(PathError::Unclean(path.to_owned()));
    }
    Ok(())
}

/// The order of the wire: by components, so that a directory comes before what is in it and both
/// come before `directory.txt`.
pub fn order(a: &str, b: &str) -> Ordering {
    // No path has a NUL, so a slash can take its place below everything else.
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

/// The directory a path is in; empty for the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last component.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The last component as Go's `path.Base` gives it: never empty, `/` for the root, `.` for nothing.
pub fn base(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => name(path),
    }
}

/// The shortest path that means the same, without looking at any file: `a//b/../c/` is `a/c`.
///
/// Never empty: the empty path is `.`. A `..` that leads out of a relative path stays.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Joins and cleans as if the root were the top of everything: the answer has no leading slash, no
/// `..`, and is empty for the root itself.
pub fn join_in_root(directory: &str, path: &str) -> String {
    clean(&format!("/{directory}/{path}")).split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_sorts_before_its_content_and_that_before_its_siblings() {
        let mut paths = ["a.txt", "a/b", "a", "a-b", "a/b/c", "a/b.c", "B"];
        paths.sort_by(|a, b| order(a, b));
        assert_eq!(paths, ["B", "a", "a/b", "a/b/c", "a/b.c", "a-b", "a.txt"]);
    }

    #[test]
    fn only_clean_relative_paths_pass() {
        for path in ["a", "a/b", "..a", "a..", ".a/...", "a b\n"] {
            assert_eq!(check(path), Ok(()), "{path:?}");
        }
        for path in ["", "/a", "a/", "a//b", ".", "a/.", "../a", "a/../b", "..", "a\0"] {
            assert!(check(path).is_err(), "{path:?}");
        }
        assert!(check(&"a".repeat(256)).is_err());
        assert!(check(&"a/".repeat(3000)).is_err());
    }

    #[test]
    fn the_base_of_a_path_is_what_go_says() {
        for (path, expected) in [("", "."), ("/", "/"), ("//", "/"), ("/a/b", "b"), ("a/b/", "b")] {
            assert_eq!(base(path), expected, "{path}");
        }
    }

    #[test]
    fn cleaning_keeps_only_leading_double_dots_of_relative_paths() {
        let cases = [
            ("", "."),
            ("a//b/../c/", "a/c"),
            ("../../a/..", "../.."),
            ("/../a", "/a"),
            ("./", "."),
            ("/", "/"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected);
        }
        assert_eq!(join_in_root("a/b", "../../../etc"), "etc");
        assert_eq!(join_in_root("a", ".."), "");
    }
}
