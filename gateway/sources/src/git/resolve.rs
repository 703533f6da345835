//! From a reference to the object it points to.
//!
//! Mostly pure: the lines of `ls-remote` come in, one choice goes out. Where a branch and a tag have
//! the same name the branch wins, as with `git checkout`.

use std::path::Path;

use kiln_graph::GitSource;

use crate::git::{GitError, Wanted};

/// What a reference points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The full name of the reference, or the commit that was asked for.
    pub(crate) reference: String,
    /// The object: a commit, or an annotated tag.
    pub(crate) object: String,
    /// The commit, if the object is a tag.
    pub(crate) commit: Option<String>,
    /// The source named a commit, not a reference.
    pub(crate) is_commit_id: bool,
}

/// A source that names a whole commit needs no asking.
pub(crate) fn without_asking(source: &GitSource) -> Option<Resolved> {
    let (reference, checksum) = (&source.reference, &source.checksum);
    let commit = |id: &String, reference: String, is_commit_id| Resolved {
        reference,
        object: id.clone(),
        commit: None,
        is_commit_id,
    };
    if is_object_id(reference) {
        return Some(commit(reference, reference.clone(), true));
    }
    let only_commit = source.fetch_by_commit || source.bundle.is_some();
    if reference.is_empty() && only_commit && is_object_id(checksum) {
        return Some(commit(checksum, checksum.clone(), true));
    }
    // A reference that no one looks up is taken for a branch.
    (source.fetch_by_commit && is_object_id(checksum)).then(|| {
        let is_full = reference.starts_with("refs/");
        let full = if is_full { reference.clone() } else { format!("refs/heads/{reference}") };
        commit(checksum, full, false)
    })
}

/// Asks the remote.
pub(crate) async fn ask(wanted: &Wanted<'_>, cwd: &Path) -> Result<Resolved, GitError> {
    let source = wanted.source;
    let remote = source.remote.as_str();
    if source.reference.is_empty() {
        let lines = wanted.git.run(cwd, &["ls-remote", "--symref", "--", remote, "HEAD"]).await?;
        return default_branch(&lines).ok_or_else(|| missing(wanted, "HEAD"));
    }
    let reference = source.reference.as_str();
    let peeled = format!("{reference}^{{}}");
    let lines = wanted.git.run(cwd, &["ls-remote", "--", remote, reference, &peeled]).await?;
    choose(&lines, reference).ok_or_else(|| missing(wanted, reference))
}

/// Compares what was found with the checksum of the user.
pub(crate) fn check(source: &GitSource, shown: &str, resolved: &Resolved) -> Result<(), GitError> {
    let wanted = &source.checksum;
    let fits = |object: &String| object.starts_with(wanted.as_str());
    if wanted.is_empty() || fits(&resolved.object) || resolved.commit.as_ref().is_some_and(fits) {
        return Ok(());
    }
    Err(GitError::Checksum {
        remote: shown.to_owned(),
        reference: resolved.reference.clone(),
        wanted: wanted.clone(),
        got: resolved.commit.as_ref().unwrap_or(&resolved.object).clone(),
    })
}

/// Compares what was fetched with what was pinned.
pub(crate) fn check_commit(
    source: &GitSource,
    shown: &str,
    resolved: &Resolved,
    commit: &str,
) -> Result<(), GitError> {
    let pinned = resolved.commit.as_ref().unwrap_or(&resolved.object);
    // The object of a commit that was asked for may turn out to be a tag.
    if pinned == commit || resolved.is_commit_id {
        return Ok(());
    }
    Err(GitError::Checksum {
        remote: shown.to_owned(),
        reference: source.reference.clone(),
        wanted: pinned.clone(),
        got: commit.to_owned(),
    })
}

/// A whole object id, sha1 or sha256.
pub(crate) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn missing(wanted: &Wanted<'_>, reference: &str) -> GitError {
    GitError::NoReference { remote: wanted.shown.clone(), reference: reference.to_owned() }
}

/// Reads the answer about HEAD: its name, then its commit.
fn default_branch(lines: &str) -> Option<Resolved> {
    let mut name = None;
    for line in lines.lines() {
        match line.split_once('\t')? {
            (target, "HEAD") if target.starts_with("ref: ") => {
                name = target.strip_prefix("ref: ").filter(|name| name.starts_with("refs/"));
            }
            (object, "HEAD") if is_object_id(object) => {
                return Some(Resolved {
                    reference: name.unwrap_or("HEAD").to_owned(),
                    object: object.to_owned(),
                    commit: None,
                    is_commit_id: false,
                });
            }
            _ => {}
        }
    }
    None
}

/// Picks the line that a reference means.
pub(crate) fn choose(lines: &str, reference: &str) -> Option<Resolved> {
    let rows: Vec<(&str, &str)> = lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(object, _)| is_object_id(object))
        .collect();
    let object = |name: &str| {
        rows.iter().find(|(_, found)| *found == name).map(|(object, _)| (*object).to_owned())
    };
    let full =
        |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
    [full("refs/heads/"), full("refs/tags/"), full("refs/")].into_iter().find_map(|name| {
        let found = object(&name)?;
        let commit = object(&format!("{name}^{{}}"));
        Some(Resolved { reference: name, object: found, commit, is_commit_id: false })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> String {
        digit.repeat(40)
    }

    #[test]
    fn a_branch_wins_over_a_tag_of_the_same_name() {
        let lines = format!(
            "{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/heads/v1\n{}\trefs/heads/x/v1\n",
            id("a"),
            id("b"),
            id("c"),
            id("d")
        );
        let resolved = choose(&lines, "v1").unwrap();
        assert_eq!((resolved.reference.as_str(), resolved.object), ("refs/heads/v1", id("c")));
        let resolved = choose(&lines, "refs/tags/v1").unwrap();
        assert_eq!((resolved.object, resolved.commit), (id("a"), Some(id("b"))));
        assert_eq!(choose(&lines, "v"), None);
    }

    #[test]
    fn any_reference_can_be_named_in_full() {
        let lines = format!("{}\trefs/pull/1/head\n", id("a"));
        assert_eq!(choose(&lines, "refs/pull/1/head").unwrap().object, id("a"));
        assert_eq!(choose(&lines, "pull/1/head").unwrap().reference, "refs/pull/1/head");
    }

    #[test]
    fn the_default_branch_has_a_name() {
        let lines = format!("ref: refs/heads/main\tHEAD\n{}\tHEAD\n", id("a"));
        let resolved = default_branch(&lines).unwrap();
        assert_eq!((resolved.reference.as_str(), resolved.object), ("refs/heads/main", id("a")));
        assert_eq!(default_branch("nonsense"), None);
    }
}
