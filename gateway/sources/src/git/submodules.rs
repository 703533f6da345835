//! Submodules of a checkout, with the secrets of the hosts they are on.
//!
//! A submodule may be anywhere. The secret of the repository is never sent to another host, but the
//! client may have one for that host, too.

use std::path::Path;

use url::Url;

use crate::git::auth::{self, Auth};
use crate::git::{GitError, Wanted};

/// Checks out the submodules of a tree, and theirs.
pub(crate) async fn update(wanted: &Wanted<'_>, tree: &Path) -> Result<(), GitError> {
    let git = wanted.git.with(&secrets(wanted, tree).await?);
    let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
    let shallow = [&update[..], &["--depth=1"]].concat();
    match git.run(tree, &shallow).await {
        // Servers that only serve files, and some that serve no commit by its id.
        Err(GitError::Failed { said, .. }) if said.contains("shallow") || is_by_id(&said) => {
            git.run(tree, &update).await.map(drop)
        }
        done => done.map(drop),
    }
}

/// Whether a commit was not had by its id, and may be had with the history.
fn is_by_id(said: &str) -> bool {
    said.contains("did not contain")
        || said.contains("not our ref")
        || said.contains("unadvertised")
}

/// Asks for the secrets of other hosts that submodules are on.
async fn secrets(wanted: &Wanted<'_>, tree: &Path) -> Result<Auth, GitError> {
    let args = ["config", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.url$"];
    // Without any address there is nothing to ask for; git says what is wrong with the file.
    let lines = wanted.git.run(tree, &args).await.unwrap_or_default();
    let own = Url::parse(&wanted.source.remote).ok();
    let mut urls: Vec<Url> = lines
        .lines()
        .filter_map(|line| Url::parse(line.split_once(' ')?.1).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .filter(|url| own.as_ref().is_none_or(|own| own.origin() != url.origin()))
        .collect();
    urls.sort_by_key(|url| url.origin().ascii_serialization());
    urls.dedup_by_key(|url| url.origin().ascii_serialization());
    let mut auth = Auth::default();
    for url in urls.iter().take(MOST_HOSTS) {
        auth::of_host(&mut auth, wanted.source, url, &wanted.shown, &wanted.session).await?;
    }
    Ok(auth)
}

/// The secrets of so many hosts are asked for.
const MOST_HOSTS: usize = 16;
