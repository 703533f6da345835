//! Collection by policy, soon after builds, and what is forgotten with what is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_build::Builder;
use kiln_store::{PruneOptions, Usage};

/// How long after a build is collected, so that the next build does not wait for it.
const DELAY: Duration = Duration::from_secs(1);
/// How long nothing is collected after that.
const PAUSE: Duration = Duration::from_secs(60);

/// The policies of collection, for a disk of so many bytes; none, if nothing is collected.
pub type Policies = Arc<dyn Fn(u64) -> Vec<PruneOptions> + Send + Sync>;

/// What prunes the store of a builder. Cheap to clone.
#[derive(Clone)]
pub struct Pruner(Arc<Inner>);

struct Inner {
    builder: Builder,
    policies: Policies,
    collecting: AtomicBool,
}

impl Pruner {
    /// Prunes by these policies.
    pub fn new(builder: Builder, policies: Policies) -> Self {
        Self(Arc::new(Inner { builder, policies, collecting: AtomicBool::new(false) }))
    }

    /// The policies for the disk that the store is on.
    pub fn policies(&self) -> Vec<PruneOptions> {
        (self.0.policies)(self.0.builder.store().disk_size().unwrap_or_default())
    }

    /// Prunes by policy, soon and at most once a minute, if there are policies.
    pub fn collect_soon(&self) {
        let policies = self.policies();
        if policies.is_empty() || self.0.collecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let pruner = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let mut removed = Vec::new();
            let mut on_removed = |usage: Usage| {
                tracing::debug!(id = usage.id, "collected");
                removed.push(usage.id);
            };
            let collected = pruner.0.builder.store().collect(&policies, &mut on_removed).await;
            pruner.forget(removed).await;
            if let Err(error) = collected {
                tracing::warn!(%error, "collection failed");
            }
            tokio::time::sleep(PAUSE).await;
            pruner.0.collecting.store(false, Ordering::Relaxed);
        });
    }

    /// Forgets results that were removed from the store, and the records that led only to them.
    pub async fn forget(&self, removed: Vec<String>) {
        let cache = self.0.builder.cache();
        let forgotten = tokio::task::spawn_blocking(move || {
            removed.iter().for_each(|id| cache.forget(id));
        });
        // What could not be forgotten is a miss.
        forgotten.await.ok();
    }
}
