//! Paths and addresses as text. Everything here is pure and small.

/// Ends of names that mean an archive.
const ARCHIVES: &[&str] = &[
    ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst", ".zip",
];

/// Whether `src` is an address this language fetches.
pub(crate) fn is_url(src: &str) -> bool {
    let scheme = src.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// Whether the name that `src` ends with is that of an archive. A query or fragment of an address
/// does not count.
pub(crate) fn is_archive(src: &str) -> bool {
    let name = if is_url(src) { without_query(src) } else { src }.to_ascii_lowercase();
    ARCHIVES.iter().any(|end| name.ends_with(end))
}

/// The last part of an address's path, as a file may be called; none when there is no host.
pub(crate) fn file_name_of_url(url: &str) -> Option<String> {
    let (_, rest) = without_query(url).split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty()
        || url.contains(|character: char| character.is_whitespace() || character.is_control())
    {
        return None;
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let fine = |character: char| character.is_ascii_alphanumeric() || "._+~-".contains(character);
    let name: String =
        last.chars().map(|character| if fine(character) { character } else { '_' }).collect();
    Some(if name.is_empty() || name.starts_with('.') { format!("download{name}") } else { name })
}

/// A path in the build context, cleaned; none when it leaves the context or is not a path.
pub(crate) fn context_path(src: &str) -> Option<String> {
    if src.is_empty() || src.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in src.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    // `/x` is `x`, as in a Dockerfile: the context is all there is.
    Some(parts.join("/"))
}

/// An absolute path, cleaned: no `.`, `..` or double slashes. None for relative paths.
pub(crate) fn absolute(path: &str) -> Option<String> {
    path.starts_with('/').then(|| join("/", path))
}

/// `path` as seen from the directory `base`, cleaned; `..` stops at the root.
pub(crate) fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_the_end_of_their_name() {
        for src in ["a.tar.gz", "x/b.TGZ", "https://h/c.zip?x=1", "https://h/d.tar.xz#e"] {
            assert!(is_archive(src), "{src}");
        }
        for src in ["a.gz", "tar.gzip", "https://h/c?file=a.zip", "kubectl"] {
            assert!(!is_archive(src), "{src}");
        }
    }

    #[test]
    fn downloads_are_called_by_their_last_part() {
        assert_eq!(file_name_of_url("https://h/a/kubectl?x=/y"), Some("kubectl".into()));
        assert_eq!(file_name_of_url("https://h"), Some("download".into()));
        assert_eq!(file_name_of_url("https://h/a/"), Some("download".into()));
        assert_eq!(file_name_of_url("https://h/.."), Some("download..".into()));
        assert_eq!(file_name_of_url("https://h/a%2fb"), Some("a_2fb".into()));
        assert_eq!(file_name_of_url("https:///a"), None);
        assert_eq!(file_name_of_url("https://h/a b"), None);
    }

    #[test]
    fn context_paths_stay_in_the_context() {
        assert_eq!(context_path("./a//b/../c"), Some("a/c".into()));
        assert_eq!(context_path("/a"), Some("a".into()));
        assert_eq!(context_path("."), Some(String::new()));
        for src in ["..", "../a", "a/../../b", ""] {
            assert_eq!(context_path(src), None, "{src}");
        }
    }

    #[test]
    fn paths_are_joined_and_cleaned() {
        assert_eq!(join("/a/b", "../c"), "/a/c");
        assert_eq!(join("/a", "/x//y/."), "/x/y");
        assert_eq!(join("/", "../.."), "/");
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), ("/a", "/", "/"));
        assert_eq!(absolute("a"), None);
    }
}
