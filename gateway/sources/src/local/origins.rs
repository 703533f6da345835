//! From where each working copy was filled.
//!
//! One small file for each, beside the store. It is taken away before a transfer and written after
//! it, so that a working copy that was left half way, by whatever end of the daemon, is of unknown
//! origin. One that is lost costs a transfer.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files;
use crate::session::Origin;

/// With more files than this, the older half goes. Working copies that are gone leave theirs.
const MOST: usize = 1024;

/// The notes of all working copies.
#[derive(Debug)]
pub(crate) struct Origins(PathBuf);

impl Origins {
    /// Notes in a directory, which is made when it is needed.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Gives what was noted about a working copy and forgets it.
    pub(crate) async fn take(&self, id: &str) -> Origin {
        let path = self.0.join(id);
        let taken = files::blocking(move || {
            let text = fs::read(&path)?;
            // What cannot be forgotten is not relied on either.
            fs::remove_file(&path)?;
            Ok(serde_json::from_slice(&text)?)
        });
        taken.await.unwrap_or_default()
    }

    /// Notes from where a working copy was filled. Failing to do so is logged, and costs a transfer.
    pub(crate) async fn put(&self, id: &str, origin: &Origin) {
        let (directory, id, origin) = (self.0.clone(), id.to_owned(), origin.clone());
        let write = move || {
            // They tell what is on machines of clients.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&directory)?;
            serde_json::to_writer(&mut file, &origin)?;
            file.persist(directory.join(id)).map_err(|error| error.error)?;
            limit(&directory, MOST)
        };
        if let Err(error) = files::blocking(write).await {
            tracing::warn!(%error, "the origin of a local directory was not noted");
        }
    }
}

/// Removes the older half of the files of a directory if there are too many.
fn limit(directory: &Path, most: usize) -> io::Result<()> {
    let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    if entries.len() <= most {
        return Ok(());
    }
    let age = |entry: &fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified());
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .iter()
        .map(|entry| (age(entry).unwrap_or(SystemTime::UNIX_EPOCH), entry.path()))
        .collect();
    files.sort();
    files.iter().take(files.len() / 2).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_gone_until_it_is_put_again() {
        let directory = tempfile::tempdir().unwrap();
        let origins = Origins::new(directory.path().join("new"));
        assert_eq!(origins.take("a").await, Origin::default());
        let origin = Origin { session: "s".into(), directory: "d".into(), at: 5 };
        origins.put("a", &origin).await;
        assert_eq!(origins.take("a").await, origin);
        assert_eq!(origins.take("a").await, Origin::default());
        fs::write(directory.path().join("new/b"), "no json").unwrap();
        assert_eq!(origins.take("b").await, Origin::default());
    }

    #[test]
    fn there_are_never_too_many() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::write(directory.path().join(number.to_string()), "").unwrap();
        }
        limit(directory.path(), 5).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5);
        limit(directory.path(), 4).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
