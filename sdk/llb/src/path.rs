//! Slash-separated paths as BuildKit cleans and joins them.
//!
//! Pure text in, pure text out: no file system is asked, and `..` is resolved by its letters. The
//! rules are those of Go's `path` package, because the results are part of an op's digest.

/// The shortest spelling of a path: no `.`, no doubled slashes, `..` resolved where it can be.
pub(crate) fn clean(path: &str) -> String {
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
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// `path` seen from `directory`, cleaned; an absolute path stays where it is.
pub(crate) fn join(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        return clean(path);
    }
    match (directory.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(directory),
        (false, false) => clean(&format!("{directory}/{path}")),
    }
}

/// An absolute path for a file action: relative ones start at `directory`.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { join("/", &join(directory, &clean(path))) }
}

/// Like [`absolute`], but a trailing `/` or `/.` is kept: it says that the path is a directory.
pub(crate) fn absolute_keeping_slash(directory: &str, path: &str) -> String {
    let mut absolute = absolute(directory, path);
    if path.ends_with('/') && !absolute.ends_with('/') {
        absolute.push('/');
    } else if path.ends_with("/.") {
        if absolute != "/" {
            absolute.push('/');
        }
        absolute.push('.');
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/../..", ".."),
            ("/../a", "/a"),
            ("./a/.", "a"),
            ("../../a", "../../a"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn a_trailing_slash_survives_where_it_means_a_directory() {
        assert_eq!(absolute_keeping_slash("/w", "out/"), "/w/out/");
        assert_eq!(absolute_keeping_slash("/w", "out/."), "/w/out/.");
        assert_eq!(absolute_keeping_slash("/w", "/"), "/");
        assert_eq!(absolute_keeping_slash("/w", "./"), "/w/");
        assert_eq!(absolute_keeping_slash("/", "/."), "/.");
        assert_eq!(absolute("/w", "."), "/w");
    }
}
