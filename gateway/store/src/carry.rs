//! Carries what is in long-lived directories to other machines and back: as a layer blob.
//!
//! Only directories that stand on nothing are carried, because of others only a difference is here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Digest;
use tokio::sync::OwnedMutexGuard;

use crate::Store;
use crate::apply::{ApplyError, LayerBlob, StopOnDrop, Unpack};
use crate::blob::Blob;
use crate::blobs::PackError;
use crate::compression::Compression;
use crate::directory::{Directory, DirectoryError};
use crate::error::{StoreError, blocking};
use crate::record::{Kind, Sharing};

/// How long to wait for who uses a directory.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is in a directory, as a blob.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The blob, which stays while this lives.
    pub blob: Blob,
    /// What it is.
    pub layer: LayerBlob,
    /// When the newest file was changed, in nanoseconds since 1970.
    pub changed: u64,
}

/// Why what is in a directory did not become a blob.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// Somebody has it all the time.
    #[error("it is in use")]
    InUse,
    /// More is in it than may be.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// How many bytes it may have.
        limit: u64,
    },
    /// It cannot be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl From<StoreError> for CarryError {
    fn from(error: StoreError) -> Self {
        Self::Pack(error.into())
    }
}

/// Keeps others who ask in the same way from beginning a directory that does not exist yet.
#[derive(Debug)]
pub struct Unused {
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Waits until nobody else begins the directory of this key, and says whether that is still to be
    /// done. The first who is told so has time to bring what should be in it.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub async fn unused_directory(&self, key: &str) -> Result<Option<Unused>, StoreError> {
        let turn = self.turn_to_begin(key).await;
        Ok((!self.has_directory(key)?).then_some(Unused { _turn: turn }))
    }

    /// Waits until nobody else begins the directory of this key, for who has nothing to bring: the index
    /// is not read.
    pub async fn begun_directory(&self, key: &str) {
        drop(self.turn_to_begin(key).await);
    }

    async fn turn_to_begin(&self, key: &str) -> OwnedMutexGuard<()> {
        self.inner.turn(&format!("begin {key}")).lock_owned().await
    }

    /// Whether there is a directory of this key that stands on nothing.
    fn has_directory(&self, key: &str) -> Result<bool, StoreError> {
        let mut rows = self.inner.index.directories()?.into_iter();
        Ok(rows.any(|(_, row)| row.key == key && row.base.is_empty()))
    }

    /// What is in the directory of this key, as a blob; `None` if there is none, or nothing in it.
    ///
    /// Nobody else gets the directory meanwhile. The same content gives the same blob.
    ///
    /// # Errors
    ///
    /// [`CarryError::TooLarge`] if its files have more than `limit` bytes, before anything is packed;
    /// [`CarryError::InUse`] if it does not become free for ten seconds.
    pub async fn carry(
        &self,
        key: &str,
        limit: u64,
        compression: Compression,
    ) -> Result<Option<Carried>, CarryError> {
        if !self.has_directory(key)? {
            return Ok(None);
        }
        let directory = self.directory(key, Kind::ExecCacheMount, Sharing::Locked, None);
        let directory = tokio::time::timeout(TIMEOUT, directory).await;
        let directory = directory.map_err(|_| CarryError::InUse)??;
        let store = self.clone();
        blocking(move || {
            let root = directory.path();
            let Some(changed) = changed(&root, limit)? else { return Ok(None) };
            let (blob, layer) = store.pack_files(&root, compression)?;
            drop(directory);
            Ok(Some(Carried { blob, layer, changed }))
        })
        .await
    }
}

impl Directory {
    /// Fills a directory that is new with what a blob carries.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] as for layers. The directory should be forgotten then.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the directory as it was, unless everything is unpacked already.
    pub async fn restore(&self, blob: &Blob, diff_id: &Digest) -> Result<(), ApplyError> {
        let stop = StopOnDrop::default();
        let store = Arc::clone(self.store());
        let unpack = Unpack {
            store: Arc::clone(&store),
            below: Vec::new(),
            diff_id: diff_id.clone(),
            blob: blob.clone(),
            stop: stop.flag(),
        };
        let directory = self.clone();
        blocking(move || {
            store.check_reserve()?;
            // Verified as a whole before anybody sees any of it.
            let number = store.new_snapshot()?;
            let writer = directory.writer()?;
            let moved = unpack
                .extract(number)
                .and_then(|_| Ok(move_children(&store.layer_files(number), &directory.path())?));
            store.abandon(number);
            if moved.is_ok() {
                writer.ended();
            }
            moved
        })
        .await
    }
}

/// When the newest file was changed; `None` if there is none. Stops where there is too much.
fn changed(root: &Path, limit: u64) -> Result<Option<u64>, CarryError> {
    let (mut newest, mut total, mut pending) = (None, 0u64, vec![root.to_owned()]);
    while let Some(directory) = pending.pop() {
        let failed = |error| StoreError::io("list", &directory, error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let metadata = fs::symlink_metadata(&path)
                .map_err(|error| StoreError::io("inspect", &path, error))?;
            total = total.saturating_add(if metadata.is_file() { metadata.len() } else { 0 });
            if total > limit {
                return Err(CarryError::TooLarge { limit });
            }
            let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
            let nanoseconds = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
            let at = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
            newest = newest.max(Some(at));
            if metadata.is_dir() {
                pending.push(path);
            }
        }
    }
    Ok(newest)
}

fn move_children(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("list", from, error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target: PathBuf = to.join(entry.file_name());
        fs::rename(entry.path(), &target)
            .map_err(|error| StoreError::io("move to", &target, error))?;
    }
    Ok(())
}
