//! Git bundles: single files that hold commits, taken in instead of a remote and given out instead of
//! files.
//!
//! A bundle comes from a registry or a layout and is verified by its digest; what it holds is as hostile
//! as a remote.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_graph::BlobAddress;

use crate::files;
use crate::git::checkout::SCRATCH;
use crate::git::resolve::{self, Resolved};
use crate::git::{GitError, Wanted};

/// The file that is given out.
const NAME: &str = "bundle";
/// Under which name a commit is in a bundle if the user gives it none: what has no name cannot be
/// fetched.
const UNNAMED: &str = "refs/heads/main";
/// Only files of this machine, which we put there.
const LOCAL: &[(&str, &str)] = &[("GIT_ALLOW_PROTOCOL", "file")];

/// Asks a bundle what a reference is. `mirror` is the shared repository, beside which it is put.
pub(crate) async fn ask(
    wanted: &Wanted<'_>,
    bundle: &BlobAddress,
    mirror: &Path,
) -> Result<Resolved, GitError> {
    let staged = Staged::new(wanted, bundle, mirror).await?;
    let lines = wanted.git.run_with(mirror, LOCAL, &["ls-remote", "--", &staged.text()]).await?;
    resolve::choose(&lines, &wanted.source.reference).ok_or_else(|| GitError::NoReference {
        remote: wanted.shown.clone(),
        reference: wanted.source.reference.clone(),
    })
}

/// Brings the objects of a bundle into the shared repository, where `commit` has to be then.
pub(crate) async fn take_in(
    wanted: &Wanted<'_>,
    bundle: &BlobAddress,
    mirror: &Path,
    commit: &str,
) -> Result<(), GitError> {
    let staged = Staged::new(wanted, bundle, mirror).await?;
    wanted.git.run(mirror, &["bundle", "unbundle", &staged.text()]).await?;
    let object = format!("{commit}^{{commit}}");
    let found = wanted.git.run(mirror, &["cat-file", "-e", &object]).await;
    found.map(|_| ()).map_err(|_| GitError::NotInBundle {
        remote: wanted.shown.clone(),
        bundle: bundle.reference.to_string(),
        commit: commit.to_owned(),
    })
}

/// Writes a bundle with a commit and its history into an empty directory. The shared repository has to
/// have all of it.
pub(crate) async fn give_out(
    wanted: &Wanted<'_>,
    mirror: &Path,
    commit: &str,
    destination: &Path,
) -> Result<(), GitError> {
    // The name is given in a repository of its own: that of the remote is shared.
    let scratch = Scratch::new(wanted, mirror)?;
    let repository = scratch.0.join("repository");
    fs::create_dir(&repository).map_err(wanted.files("make a directory"))?;
    let format = if commit.len() == 64 { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    let init = ["init", "--bare", "--quiet", "--template=", &format, "."];
    wanted.git.run(&repository, &init).await?;
    let objects = format!("{}\n", mirror.join("objects").display());
    fs::create_dir_all(repository.join("objects/info"))
        .and_then(|()| fs::write(repository.join("objects/info/alternates"), objects))
        .map_err(wanted.files("name the objects of the shared repository"))?;
    let name = name(&wanted.source.reference);
    wanted.git.run(&repository, &["update-ref", &name, commit]).await?;
    let made = scratch.0.join(NAME);
    let made_text = made.display().to_string();
    wanted.git.run(&repository, &["bundle", "create", "--quiet", &made_text, &name]).await?;
    let (source, target) = (made, destination.join(NAME));
    // The directory may be on another file system than the shared repository.
    let copied = files::blocking(move || fs::copy(source, target)).await;
    copied.map(|_| ()).map_err(wanted.files("write the bundle"))
}

/// Under which name a commit stands in a bundle. A short name is taken for a branch.
fn name(reference: &str) -> String {
    if reference.is_empty() || resolve::is_object_id(reference) {
        return UNNAMED.to_owned();
    }
    if reference.starts_with("refs/tags/") {
        return reference.to_owned();
    }
    let short = reference.strip_prefix("refs/").unwrap_or(reference);
    format!("refs/heads/{}", short.strip_prefix("heads/").unwrap_or(short))
}

/// A directory beside the shared repository, removed when dropped, and by the next user if the
/// process is killed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(wanted: &Wanted<'_>, mirror: &Path) -> Result<Self, GitError> {
        let path = mirror.join(format!("{SCRATCH}{:x}", rand::random::<u64>()));
        fs::create_dir_all(&path).map_err(wanted.files("make a directory"))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "a directory of a bundle stays");
        }
    }
}

/// A bundle on this machine.
struct Staged {
    scratch: Scratch,
}

impl Staged {
    async fn new(
        wanted: &Wanted<'_>,
        bundle: &BlobAddress,
        mirror: &Path,
    ) -> Result<Self, GitError> {
        let staged = Self { scratch: Scratch::new(wanted, mirror)? };
        let saved = wanted.blobs.save(bundle, &staged.path(), wanted.context).await;
        saved.map_err(|source| GitError::Bundle { remote: wanted.shown.clone(), source })?;
        Ok(staged)
    }

    fn path(&self) -> PathBuf {
        self.scratch.0.join(NAME)
    }

    fn text(&self) -> String {
        self.path().display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_without_a_name_gets_one_and_a_short_name_is_a_branch() {
        for (reference, in_bundle) in [
            ("", "refs/heads/main"),
            (&"a".repeat(40), "refs/heads/main"),
            ("master", "refs/heads/master"),
            ("heads/x", "refs/heads/x"),
            ("refs/heads/x", "refs/heads/x"),
            ("refs/tags/v1", "refs/tags/v1"),
            ("refs/pull/1/head", "refs/heads/pull/1/head"),
        ] {
            assert_eq!(name(reference), in_bundle);
        }
    }
}
