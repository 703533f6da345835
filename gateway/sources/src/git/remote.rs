//! What may be asked of a remote, and fetching from it into the shared repository.

use std::fs;
use std::io;
use std::path::Path;

use kiln_graph::GitSource;
use url::Url;

use crate::files;
use crate::git::checkout::SCRATCH;
use crate::git::resolve::Resolved;
use crate::git::{GitError, Wanted, bundle};
use crate::http::redact;

/// Checks that git can be called with a source, and gives the remote without its login.
pub(crate) fn check(source: &GitSource) -> Result<String, GitError> {
    let shown = shown(&source.remote);
    let invalid =
        |reason: &str| Err(GitError::Invalid { remote: shown.clone(), reason: reason.to_owned() });
    let remote = source.remote.as_str();
    if remote.is_empty() || remote.starts_with('-') || remote.chars().any(char::is_control) {
        return invalid("the remote is no address");
    }
    match remote.split_once("://") {
        Some(("http" | "https" | "ssh" | "git", _)) => {}
        Some(_) => return invalid("only http, https, ssh and git are supported"),
        None if !is_scp_like(remote) => return invalid("the remote is no address"),
        None => {}
    }
    if !is_reference(&source.reference) {
        return invalid("the reference has characters no reference has");
    }
    if source.subdir.split('/').any(|part| part == "..") || source.subdir.contains('\0') {
        return invalid("the directory is not below the repository");
    }
    Ok(shown)
}

/// `user@host:path`.
fn is_scp_like(remote: &str) -> bool {
    let Some((host, path)) = remote.split_once(':') else { return false };
    let name = host.rsplit('@').next().unwrap_or_default();
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        && !path.is_empty()
        // `ext::program` and the like.
        && !path.starts_with(':')
}

/// The rules of `git check-ref-format` that matter to a command line.
fn is_reference(reference: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !reference.starts_with('-') && !reference.contains("..") && !reference.chars().any(bad)
}

fn shown(remote: &str) -> String {
    let text = Url::parse(remote).map_or_else(|_| remote.to_owned(), |url| redact(&url));
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Brings what a reference points to into the shared repository, and gives its commit.
pub(crate) async fn fetch(
    wanted: &Wanted<'_>,
    mirror: &Path,
    resolved: &Resolved,
) -> Result<String, GitError> {
    prepare(wanted, mirror, resolved).await?;
    // Under a name, so that later fetches can say that it is here.
    let name = format!("refs/kiln/{}", resolved.object);
    let mut object = resolved.object.as_str();
    let is_here = has(wanted, mirror, object).await;
    if let Some(bundle) = wanted.source.bundle.as_ref().filter(|_| !is_here) {
        bundle::take_in(wanted, bundle, mirror, object).await?;
    } else if !is_here && let Err(error) = fetch_object(wanted, mirror, resolved, &name).await {
        // A tag that was moved meanwhile cannot be had any more; its commit is all that matters
        // without `.git`.
        match &resolved.commit {
            Some(commit) if !wanted.source.keep_git_dir && has(wanted, mirror, commit).await => {
                object = commit;
            }
            _ => return Err(error),
        }
    }
    wanted.git.run(mirror, &["update-ref", &name, object]).await?;
    let commit = format!("{object}^{{commit}}");
    let commit = wanted.git.run(mirror, &["rev-parse", "--verify", &commit]).await?;
    if wanted.source.checkout_bundle && mirror.join("shallow").exists() {
        // A bundle is of no use without the history of its commit.
        fetch_all(wanted, mirror).await?;
    }
    Ok(commit.trim().to_owned())
}

async fn fetch_object(
    wanted: &Wanted<'_>,
    mirror: &Path,
    resolved: &Resolved,
    name: &str,
) -> Result<(), GitError> {
    let remote = wanted.source.remote.as_str();
    let shallow = ["fetch", "--depth=1", "--no-tags", "--force", "--quiet", "--", remote];
    // By name first, because not every server gives objects by id; the name may have moved on
    // meanwhile, and then the id is the only way.
    let mut names = vec![&resolved.reference, &resolved.object];
    names.dedup();
    if wanted.source.fetch_by_commit {
        names.reverse();
    }
    let mut failed = None;
    for from in names {
        let spec = format!("{from}:{name}");
        match wanted.git.run(mirror, &[&shallow[..], &[&spec]].concat()).await {
            Ok(_) if has(wanted, mirror, &resolved.object).await => return Ok(()),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    fetch_all(wanted, mirror).await.map_err(|error| failed.unwrap_or(error))?;
    if has(wanted, mirror, &resolved.object).await {
        return Ok(());
    }
    let (remote, reference) = (wanted.shown.clone(), resolved.object.clone());
    Err(GitError::NoReference { remote, reference })
}

/// Everything the remote has, with its history: for commits that no name points to.
async fn fetch_all(wanted: &Wanted<'_>, mirror: &Path) -> Result<(), GitError> {
    let mut args = vec!["fetch", "--force", "--quiet", "--tags"];
    if mirror.join("shallow").exists() {
        args.push("--unshallow");
    }
    let remote = wanted.source.remote.as_str();
    args.extend(["--", remote, "+refs/heads/*:refs/remotes/origin/*"]);
    wanted.git.run(mirror, &args).await.map(|_| ())
}

/// Makes the shared repository if it is new, and takes away what a killed git left.
async fn prepare(wanted: &Wanted<'_>, mirror: &Path, resolved: &Resolved) -> Result<(), GitError> {
    if !mirror.join("HEAD").exists() {
        let format = if resolved.object.len() == 64 { "sha256" } else { "sha1" };
        let format = format!("--object-format={format}");
        wanted.git.run(mirror, &["init", "--bare", "--quiet", &format, "."]).await?;
    }
    let mirror = mirror.to_owned();
    let cleaned = files::blocking(move || remove_leftovers(&mirror)).await;
    cleaned.map_err(wanted.files("remove what an earlier git left"))
}

/// Locks and half-made checkouts. Nobody else uses the repository now, so they are stale.
fn remove_leftovers(mirror: &Path) -> io::Result<()> {
    for entry in fs::read_dir(mirror)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path())?;
        } else if name.ends_with(".lock") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

async fn has(wanted: &Wanted<'_>, mirror: &Path, object: &str) -> bool {
    let object = format!("{object}^{{commit}}");
    wanted.git.run(mirror, &["cat-file", "-e", &object]).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(remote: &str, reference: &str, subdir: &str) -> Result<String, GitError> {
        check(&GitSource {
            remote: remote.into(),
            reference: reference.into(),
            subdir: subdir.into(),
            ..GitSource::default()
        })
    }

    #[test]
    fn what_git_would_take_for_something_else_is_refused() {
        for (remote, reference, subdir) in [
            ("--upload-pack=x", "", ""),
            ("ext::sh -c x", "", ""),
            ("file:///etc", "", ""),
            ("/etc", "", ""),
            ("-x:y", "", ""),
            ("https://x/y", "--force", ""),
            ("https://x/y", "a:b", ""),
            ("https://x/y", "a b", ""),
            ("https://x/y", "", "a/../../b"),
        ] {
            let checked = checked(remote, reference, subdir);
            assert!(matches!(checked, Err(GitError::Invalid { .. })), "{remote} {reference}");
        }
        for remote in ["https://x/y.git", "git@example.com:a/b.git", "ssh://git@x:22/y"] {
            checked(remote, "refs/heads/a-b", "docs/x").unwrap();
        }
    }

    #[test]
    fn a_login_is_not_shown() {
        assert_eq!(checked("https://me:pw@x/y", "", "").unwrap(), "https://xxxxx:xxxxx@x/y");
    }
}
