//! Which part of an input's content may stand for the input.

use kiln_paths::path::{clean, order};

/// What to compute the content digest of: one or several parts of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentQuery {
    /// The parts; never empty.
    pub selectors: Vec<Selector>,
}

/// One part of a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Where; `/` is everything.
    pub path: String,
    /// The path is a pattern.
    pub wildcard: bool,
    /// A symbolic link at the path stands for what it points to.
    pub follow_links: bool,
    /// Only what fits one of these, relative to the path.
    pub include: Vec<String>,
    /// Not what fits one of these.
    pub exclude: Vec<String>,
    /// At least one included path begins with each of these.
    pub required_paths: Vec<String>,
}

impl Selector {
    /// Whether it selects some entries rather than a file or a directory as it is.
    pub fn is_filtered(&self) -> bool {
        self.wildcard || !self.include.is_empty() || !self.exclude.is_empty()
    }
}

impl ContentQuery {
    /// The whole file system.
    pub fn everything() -> Self {
        Self { selectors: vec![Selector { path: "/".to_owned(), ..Selector::default() }] }
    }

    /// Several parts, each path taken from the root.
    pub(crate) fn of(selectors: impl IntoIterator<Item = Selector>) -> Self {
        let rooted = |selector: Selector| Selector { path: rooted(&selector.path), ..selector };
        Self { selectors: selectors.into_iter().map(rooted).collect() }
    }
}

/// A path from the root, clean.
pub(crate) fn rooted(path: &str) -> String {
    clean(&format!("/{path}"))
}

/// Paths without those below another one, sorted; a single path stays as it is.
pub(crate) fn without_nested(mut paths: Vec<String>) -> Vec<String> {
    if paths.len() <= 1 {
        return paths;
    }
    // In this order what is below a path comes right behind it.
    paths.sort_by(|a, b| order(a, b));
    paths.dedup_by(|later, kept| later == kept || is_below(later, kept));
    paths.sort();
    paths
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.starts_with('/') || directory.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_another_path_is_not_named_again() {
        let check = |paths: &[&str]| {
            without_nested(paths.iter().map(|path| (*path).to_owned()).collect()).join(" ")
        };
        assert_eq!(check(&["/b", "/a/x", "/a-b", "/a", "/a", "/a/y/z"]), "/a /a-b /b");
        assert_eq!(check(&["/ab", "/abc", "/ab/"]), "/ab /abc");
        assert_eq!(check(&["/", "/a", "b"]), "/ b");
        assert_eq!(check(&["a/", "a/b", "a"]), "a");
        assert_eq!(check(&["/a/b/"]), "/a/b/");
        assert_eq!(check(&["", "/a", "b"]), " b");
    }
}
