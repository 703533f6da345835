//! What is known of a result without making it: some files by name, and for the rest, who made it.
//!
//! A [`Value`] is laid over like a file system: known files are exact, what a command or an image
//! brought is a named whole. [`Value::select`] says what a copy or a mount reads of it, so two
//! selections that are equal would have one content digest.

use std::collections::BTreeMap;

use kiln_filesync::{Patterns, glob::Glob};
use kiln_keys::contenthash::{Entries, Kind, Origin, checksum};
use kiln_keys::{ContentQuery, Selector};
use kiln_oci::Digest;

/// What an entry that is a directory holds, before what else is said about it.
const DIRECTORY: &str = "directory ";

/// What a result holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    /// Known files by path, relative and clean, with what they hold and how.
    files: BTreeMap<String, String>,
    /// Wholes that nothing is known of but their name: where they start, and their name.
    wholes: Vec<(String, String)>,
}

/// The part of a selector's path before any pattern.
fn fixed(selector: &Selector) -> String {
    let path = clean(&selector.path);
    match selector.wildcard {
        false => path,
        true => {
            let parts = path.split('/').take_while(|part| !has_wildcard(part));
            parts.collect::<Vec<_>>().join("/")
        }
    }
}

/// The path of something read, from its name in the selection.
pub(super) fn full_path(selector: &Selector, name: &str) -> String {
    joined(&fixed(selector), name)
}

/// A selection: names of what is read, with what it holds.
pub(super) type Selection = BTreeMap<String, String>;

impl Value {
    /// Files that are all known.
    pub(super) fn of_files(files: BTreeMap<String, String>) -> Self {
        Self { files, wholes: Vec::new() }
    }

    /// A result that nothing is known of but its name.
    pub(super) fn whole(name: String) -> Self {
        Self { files: BTreeMap::new(), wholes: vec![(String::new(), name)] }
    }

    /// The digest of what a query asks for: the daemon's, as far as files are known, and who made
    /// them where they are not.
    pub(super) fn content(&self, query: &ContentQuery) -> Digest {
        let tree = self.tree();
        let mut parts = Vec::new();
        for selector in &query.selectors {
            parts.push(match checksum(&tree, selector) {
                Ok(digest) => digest.to_string(),
                // It is in what nothing is known of, or the real build fails.
                Err(error) => error.to_string(),
            });
            parts.extend(self.wholes_read(selector).map(|(_, seen)| seen));
        }
        Digest::sha256(parts.join("\0"))
    }

    /// The known files as a tree, each with what it holds in place of its digest.
    fn tree(&self) -> Entries {
        let mut tree = Entries::new(Origin::Sent);
        for path in self.files.keys() {
            for above in ancestors(path).filter(|above| above != path) {
                tree.insert(above, Kind::Directory, Digest::sha256(DIRECTORY));
            }
        }
        for (path, holds) in self.files.iter().filter(|(path, _)| !path.is_empty()) {
            let is_directory = holds.starts_with(DIRECTORY);
            let kind = if is_directory { Kind::Directory } else { Kind::Other };
            tree.insert(path, kind, Digest::sha256(holds));
        }
        tree
    }

    /// The wholes that a selector may read of, by position, with what is read.
    fn wholes_read(&self, selector: &Selector) -> impl Iterator<Item = (usize, String)> {
        let fixed = fixed(selector);
        // A whole may hold anything below where it starts, the selected path included.
        let read = self.wholes.iter().enumerate();
        let read = read.filter(move |(_, (at, _))| is_in(at, &fixed) || is_in(&fixed, at));
        read.map(|(number, (_, name))| {
            let seen = format!(
                "{name} from {} [{}] [{}]",
                clean(&selector.path),
                selector.include.join(","),
                selector.exclude.join(",")
            );
            (number, seen)
        })
    }

    /// What is read through a selector, each file under its name below what was selected.
    pub(super) fn select(&self, selector: &Selector) -> Selection {
        let filter = Filter::new(selector);
        let mut read = Selection::new();
        for (path, holds) in &self.files {
            if let Some(name) = filter.name(path) {
                read.insert(name, holds.clone());
            }
        }
        let wholes = self.wholes_read(selector);
        read.extend(wholes.map(|(number, seen)| (format!("\0{number:04}"), seen)));
        read
    }

    /// Puts a file in place of whatever was there.
    pub(super) fn write(&mut self, path: &str, holds: String) {
        self.files.insert(clean(path), holds);
    }

    /// Makes a directory, unless there is one.
    pub(super) fn make_directory(&mut self, path: &str, how: &str) {
        self.files.entry(clean(path)).or_insert_with(|| format!("{DIRECTORY}{how}"));
    }

    /// Takes away every path that fits a pattern.
    pub(super) fn remove_all(&mut self, pattern: &str, fits: &dyn Fn(&str) -> bool) {
        self.files.retain(|file, _| !ancestors(file).any(fits));
        for (_, name) in &mut self.wholes {
            name.push_str(&format!(" without {pattern}"));
        }
    }

    /// Takes a path away. Of wholes, it is remembered that something is missing.
    pub(super) fn remove(&mut self, path: &str) {
        let path = clean(path);
        self.files.retain(|file, _| !is_in(&path, file));
        self.wholes.retain(|(at, _)| path.is_empty() || !is_in(&path, at));
        for (at, name) in &mut self.wholes {
            if is_in(at, &path) {
                name.push_str(&format!(" without {path}"));
            }
        }
    }

    /// Copies what a selector reads of another value. `how` is all else that the copy says.
    pub(super) fn copy(&mut self, from: &Self, selector: &Selector, to: &CopyTo<'_>) {
        let filter = Filter::new(selector);
        let into = to.path.ends_with('/') || to.path.ends_with("/.") || clean(to.path).is_empty();
        let dest = clean(to.path);
        let is_directory = |(file, holds): (&String, &String)| match *file == dest {
            true => holds.starts_with(DIRECTORY),
            false => is_in(&dest, file),
        };
        let into = into || self.files.iter().any(is_directory);
        for (path, holds) in &from.files {
            let Some(root) = filter.root(path) else { continue };
            let below = path[root.len()..].trim_start_matches('/');
            let base = root.rsplit('/').next().unwrap_or_default();
            if below.is_empty() && to.contents && holds.starts_with(DIRECTORY) {
                continue;
            }
            // The contents of a directory go to the destination, a file goes under its own name
            // if the destination is a directory.
            let place = match (below.is_empty(), to.contents, into) {
                (true, _, true) => joined(&dest, base),
                (true, _, false) => dest.clone(),
                (false, true, _) | (false, false, false) => joined(&dest, below),
                (false, false, true) => joined(&joined(&dest, base), below),
            };
            self.files.insert(place, format!("{holds}{}", to.how));
        }
        for (name, seen) in from.select(selector) {
            if name.starts_with('\0') {
                self.wholes.push((dest.clone(), format!("{seen}{} to {}", to.how, to.path)));
            }
        }
    }

    /// Lays another value on top.
    pub(super) fn lay(&mut self, over: &Self) {
        self.files.extend(over.files.clone());
        self.wholes.extend(over.wholes.clone());
    }
}

/// Where a copy goes.
pub(super) struct CopyTo<'a> {
    /// The destination as it is written.
    pub(super) path: &'a str,
    /// Of a directory, only what is in it.
    pub(super) contents: bool,
    /// Mode, owner, time and the like, as text.
    pub(super) how: &'a str,
}

/// A selector, ready to look at paths.
struct Filter {
    /// The clean path of the selector.
    path: String,
    glob: Option<Glob>,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

impl Filter {
    fn new(selector: &Selector) -> Self {
        // A pattern that is none fails the real build; here it fits nothing.
        let parse = |list: &[String]| match list {
            [] => None,
            list => Some(Patterns::parse(list).unwrap_or_default()),
        };
        let path = clean(&selector.path);
        let glob = selector.wildcard.then(|| Glob::parse(&path).ok()).flatten();
        let (include, exclude) = (parse(&selector.include), parse(&selector.exclude));
        Self { path, glob, include, exclude }
    }

    /// The path that was selected and that a file is, or is in; nothing if the file is not read.
    fn root<'p>(&self, path: &'p str) -> Option<&'p str> {
        let root = match &self.glob {
            Some(glob) => ancestors(path).find(|above| glob.matches(above))?,
            None if self.path.is_empty() => "",
            None if is_in(&self.path, path) => &path[..self.path.len()],
            None => return None,
        };
        let below = path[root.len()..].trim_start_matches('/');
        let below =
            if below.is_empty() { root.rsplit('/').next().unwrap_or_default() } else { below };
        let fits = |patterns: &Patterns| patterns.matches(below);
        let passes =
            self.include.as_ref().is_none_or(fits) && !self.exclude.as_ref().is_some_and(fits);
        passes.then_some(root)
    }

    /// The name of a file in the selection: what is below the selected path, behind its own name
    /// if several paths may have been selected.
    fn name(&self, path: &str) -> Option<String> {
        let root = self.root(path)?;
        let below = path[root.len()..].trim_start_matches('/');
        let base = root.rsplit('/').next().unwrap_or_default();
        Some(if self.glob.is_some() { joined(base, below) } else { below.to_owned() })
    }
}

/// A path and the directories above it, outermost first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain(std::iter::once(path))
}

/// Whether a path is a directory or in it; everything is in the empty path.
fn is_in(directory: &str, path: &str) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn joined(directory: &str, name: &str) -> String {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => directory.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}

pub(super) fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path from the root without the root: no `.`, no empty parts, `..` never above the root.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
