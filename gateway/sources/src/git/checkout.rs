//! From the shared repository to the files of one commit.
//!
//! Without `.git` and submodules the files are written straight from the shared repository; else a
//! small repository is made first, as `git clone --depth=1` would. A wanted directory is checked
//! out beside the shared repository and its content moved.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::git::resolve::Resolved;
use crate::git::{GitError, Wanted, bundle, submodules};

/// What is begun in the shared repository's directory has this in front of its name.
pub(crate) const SCRATCH: &str = "kiln-checkout-";

/// The version of BuildKit's behaviour, by its number, that did not care for the umask of git.
const BEFORE_UMASK: i64 = 10;

/// Writes the files of a commit into an empty directory.
pub(crate) async fn checkout(
    wanted: &Wanted<'_>,
    mirror: &Path,
    resolved: &Resolved,
    commit: &str,
    destination: &Path,
) -> Result<(), GitError> {
    let source = wanted.source;
    if source.checkout_bundle {
        return bundle::give_out(wanted, mirror, commit, destination).await;
    }
    let scratch = mirror.join(format!("{SCRATCH}{:x}", rand::random::<u64>()));
    let make = |path: &Path| fs::create_dir(path).map_err(wanted.files("make a directory"));
    make(&scratch)?;
    let tree = if source.subdir.is_empty() {
        destination.to_owned()
    } else {
        let tree = scratch.join("tree");
        make(&tree)?;
        tree
    };
    let keeps_git = source.keep_git_dir && source.subdir.is_empty();
    let submodules = !source.skip_submodules && has_submodules(wanted, mirror, commit).await;
    if keeps_git || submodules {
        repository(wanted, mirror, resolved, commit, &tree, submodules).await?;
    } else {
        plain(wanted, mirror, commit, &tree, &scratch).await?;
    }
    let epoch = match source.commit_mtime {
        true => Some(commit_time(wanted, mirror, commit).await?),
        false => None,
    };
    let older_modes = has_older_modes(wanted)?;
    let tree = Tree { tree, scratch, destination: destination.to_owned(), older_modes };
    finish(wanted, commit, tree, epoch).await
}

/// Whether files get the modes that they had before umasks were set: then everybody could write.
fn has_older_modes(wanted: &Wanted<'_>) -> Result<bool, GitError> {
    match wanted.context.compatibility {
        Some(version) => Ok(version == BEFORE_UMASK),
        None => Err(GitError::Invalid {
            remote: wanted.shown.clone(),
            reason:
                "builds that do not ask for the same compatibility-version check it out at the \
                     same time; repeat the one that failed"
                    .to_owned(),
        }),
    }
}

async fn has_submodules(wanted: &Wanted<'_>, mirror: &Path, commit: &str) -> bool {
    let object = format!("{commit}:.gitmodules");
    wanted.git.run(mirror, &["cat-file", "-e", &object]).await.is_ok()
}

/// Seconds since 1970.
async fn commit_time(wanted: &Wanted<'_>, mirror: &Path, commit: &str) -> Result<i64, GitError> {
    let text = wanted.git.run(mirror, &["show", "-s", "--format=%ct", commit]).await?;
    text.trim().parse().map_err(|_| GitError::Invalid {
        remote: wanted.shown.clone(),
        reason: format!("commit {commit} has no time"),
    })
}

/// Only the files.
async fn plain(
    wanted: &Wanted<'_>,
    mirror: &Path,
    commit: &str,
    tree: &Path,
    scratch: &Path,
) -> Result<(), GitError> {
    let index = scratch.join("index");
    let (index, mirror, tree_text) = (text(&index), text(mirror), text(tree));
    let env = [
        ("GIT_INDEX_FILE", index.as_str()),
        ("GIT_DIR", mirror.as_str()),
        ("GIT_WORK_TREE", tree_text.as_str()),
    ];
    wanted.git.run_with(tree, &env, &["read-tree", "--reset", "-u", commit]).await.map(|_| ())
}

/// A repository of its own, which submodules need, and who wants `.git`.
async fn repository(
    wanted: &Wanted<'_>,
    mirror: &Path,
    resolved: &Resolved,
    commit: &str,
    tree: &Path,
    submodules: bool,
) -> Result<(), GitError> {
    let git = &wanted.git;
    let format = if commit.len() == 64 { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    git.run(tree, &["init", "--quiet", "--template=", &format, "."]).await?;
    let from = format!("file://{}", text(mirror));
    let name = format!("refs/kiln/{}", resolved.object);
    let spec = if resolved.is_commit_id || !resolved.reference.starts_with("refs/") {
        name
    } else {
        format!("{name}:{}", resolved.reference)
    };
    // By way of the file protocol, because the short way for local clones follows links.
    let fetch = ["fetch", "--quiet", "--no-tags", "-u", "--depth=1", "--", &from, &spec];
    git.run_with(tree, &[("GIT_ALLOW_PROTOCOL", "file")], &fetch).await?;
    git.run(tree, &["checkout", "--quiet", "--force", "--detach", commit]).await?;
    git.run(tree, &["remote", "add", "origin", "--", &wanted.source.remote]).await?;
    if submodules {
        submodules::update(wanted, tree).await?;
    }
    git.run(tree, &["remote", "set-url", "origin", "--", &wanted.shown]).await?;
    git.run(tree, &["reflog", "expire", "--all", "--expire=now"]).await?;
    Ok(())
}

/// Directories of one checkout.
struct Tree {
    tree: PathBuf,
    scratch: PathBuf,
    destination: PathBuf,
    older_modes: bool,
}

/// Takes away what is not wanted, and puts the rest where it belongs.
async fn finish(
    wanted: &Wanted<'_>,
    commit: &str,
    tree: Tree,
    epoch: Option<i64>,
) -> Result<(), GitError> {
    let source = wanted.source;
    let keeps_git = source.keep_git_dir && source.subdir.is_empty();
    let subdir = source.subdir.clone();
    let work = move || -> io::Result<bool> {
        if keeps_git {
            remove_if_there(&tree.tree.join(".git/FETCH_HEAD"))?;
        } else {
            files::remove_named(&tree.tree, ".git")?;
        }
        if !subdir.is_empty() {
            let Some(from) = files::directory_below(&tree.tree, &subdir) else { return Ok(false) };
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                fs::rename(entry.path(), tree.destination.join(entry.file_name()))?;
            }
        }
        if tree.older_modes {
            files::let_all_write(&tree.destination)?;
        }
        if let Some(seconds) = epoch {
            files::set_times(&tree.destination, seconds)?;
        }
        fs::remove_dir_all(&tree.scratch)?;
        Ok(true)
    };
    let done = files::blocking(work).await.map_err(wanted.files("arrange the files"))?;
    if done {
        return Ok(());
    }
    Err(GitError::Subdir {
        remote: wanted.shown.clone(),
        subdir: source.subdir.clone(),
        commit: commit.to_owned(),
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
