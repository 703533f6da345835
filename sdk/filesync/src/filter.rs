//! Which part of a tree travels: patterns to include and to exclude, and paths to follow.
//!
//! A [`Filter`] is what a request asks for, as text. `Filter::compile` turns it into `Rules` for
//! one tree: followed paths become includes, together with everything the symbolic links on the way
//! lead to, as if the tree's root were the root of the machine.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use crate::glob::{Glob, has_wildcard};
use crate::path::{self, join_in_root};
use crate::pattern::{Matched, Patterns};
use crate::walk::{Root, WalkError};
use crate::{mode, sys};

/// How many links and wildcard matches one filter may follow.
const MAX_FOLLOWED: usize = 100_000;

/// What to send of a tree; the default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only paths that match, and the directories above them; empty means all.
    pub include: Vec<String>,
    /// Not these, as a `.dockerignore` says it.
    pub exclude: Vec<String>,
    /// Also included: these paths and what they point to, if they are symbolic links. The last
    /// component of each may have wildcards.
    pub follow_paths: Vec<String>,
}

/// A filter made ready for one tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

/// What the rules say about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It travels.
    Send,
    /// It does not, but something below it may.
    LookBelow,
    /// Neither it nor anything below it.
    Skip,
}

/// What is known about a directory when its entries are judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Above {
    include: Option<Matched>,
    exclude: Option<Matched>,
}

impl Filter {
    /// Parses the patterns and resolves the paths to follow in `root`.
    pub(crate) fn compile(&self, root: &Root) -> Result<Rules, WalkError> {
        let mut include = self.include.clone();
        if let Some(followed) = follow(root, &self.follow_paths)? {
            include.extend(followed);
        }
        if include.iter().any(|pattern| pattern == ".") {
            include.clear();
        }
        let parse = |list: &[String]| {
            Patterns::parse(list).map(|patterns| (!list.is_empty()).then_some(patterns))
        };
        Ok(Rules { include: parse(&include)?, exclude: parse(&self.exclude)? })
    }
}

impl Rules {
    /// Judges one entry.
    pub(crate) fn judge(&self, path: &str, is_directory: bool, above: &Above) -> (Verdict, Above) {
        let mut below = Above::default();
        let mut verdict = Verdict::Send;
        if let Some(include) = &self.include {
            let (matched, info) = include.matches_below(path, above.include.as_ref());
            below.include = Some(info);
            if !matched {
                if !is_directory || !include.may_match_below(path) {
                    return (Verdict::Skip, below);
                }
                verdict = Verdict::LookBelow;
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, info) = exclude.matches_below(path, above.exclude.as_ref());
            below.exclude = Some(info);
            if matched {
                if !is_directory || !exclude.may_negate_below(path) {
                    return (Verdict::Skip, below);
                }
                verdict = Verdict::LookBelow;
            }
        }
        (verdict, below)
    }
}

/// The paths and everything their links lead to, sorted, nothing twice; `None` if that is the whole
/// tree, or if there is nothing to follow.
fn follow(root: &Root, paths: &[String]) -> Result<Option<Vec<String>>, WalkError> {
    let mut resolved = BTreeSet::new();
    let mut waiting: Vec<String> = paths.iter().rev().map(|path| join_in_root("", path)).collect();
    while let Some(path) = waiting.pop() {
        if resolved.len() + waiting.len() > MAX_FOLLOWED {
            return Err(WalkError::TooManyLinks { path });
        }
        follow_one(root, &path, &mut resolved, &mut waiting)?;
    }
    if resolved.is_empty() || resolved.contains("") {
        return Ok(None);
    }
    // Sorted by the wire's order, a directory is directly followed by what it makes superfluous.
    let mut sorted: Vec<String> = resolved.into_iter().collect();
    sorted.sort_by(|a, b| path::order(a, b));
    sorted.dedup_by(|later, kept| {
        later.strip_prefix(kept.as_str()).is_some_and(|rest| rest.starts_with('/'))
    });
    Ok(Some(sorted))
}

/// Walks down one path until its end or until a symbolic link sends it elsewhere.
fn follow_one(
    root: &Root,
    path: &str,
    resolved: &mut BTreeSet<String>,
    waiting: &mut Vec<String>,
) -> Result<(), WalkError> {
    let mut current = String::new();
    let mut rest = Some(path);
    while let Some(remaining) = rest {
        let (name, after) = match remaining.split_once('/') {
            Some((name, after)) => (name, Some(after)),
            None => (remaining, None),
        };
        current = join_in_root(&current, name);
        let targets = link_targets(root, &current)?;
        if (after.is_none() || !targets.is_empty()) && !resolved.insert(current.clone()) {
            return Ok(());
        }
        if !targets.is_empty() {
            waiting.extend(
                targets.iter().rev().map(|target| join_in_root(target, after.unwrap_or(""))),
            );
            return Ok(());
        }
        rest = after;
    }
    Ok(())
}

/// Where a path points to if it is a symbolic link; for a wildcard, where all matching links point.
fn link_targets(root: &Root, path: &str) -> Result<Vec<String>, WalkError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let (parent, name) = (path::parent(path), path::name(path));
    let failed = |source| WalkError::Read { path: path.to_owned(), source };
    // Not there, not a directory, or a link, which was followed as a path of its own.
    let Ok(directory) = sys::open_below(root.as_fd(), parent, sys::DIRECTORY, 0) else {
        return Ok(Vec::new());
    };
    let names = match Glob::parse(name) {
        Ok(glob) if has_wildcard(name) => {
            let listed = sys::list(directory.as_fd()).map_err(failed)?;
            let names = listed.into_iter().filter_map(|(name, _)| String::from_utf8(name).ok());
            names.filter(|name| glob.matches(name)).collect()
        }
        _ => vec![name.to_owned()],
    };
    let mut targets = Vec::new();
    for name in names {
        let Ok(stat) = sys::lstat(directory.as_fd(), &name) else { continue };
        if mode::is_symlink(mode::from_posix(stat.st_mode)) {
            let target = sys::read_link(directory.as_fd(), &name).map_err(failed)?;
            targets.push(if target.starts_with('/') {
                target
            } else {
                join_in_root(parent, &target)
            });
        }
    }
    Ok(targets)
}
