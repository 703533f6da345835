//! Collection by policy, soon after builds, and what is forgotten with what is removed.
//!
//! Builds say that they have ended; rounds of collection go out. After a round there is a pause. A build that
//! ends in the pause has its round after it; the pause ends early when builds have made more than a policy
//! allows. To know that the store is counted, which takes no more than a small part of the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_build::Builder;
use kiln_store::{PruneOptions, Usage};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// How long after a build is collected, so that the next build does not wait for it.
const DELAY: Duration = Duration::from_secs(1);
/// How long nothing is collected after that.
const PAUSE: Duration = Duration::from_secs(60);
/// How many times longer than a round nothing is done after it, however fast the store grows.
const REST: u32 = 4;
/// How many times longer than it takes to count the store it is not counted again.
const REST_FROM_COUNTING: u32 = 20;

/// The policies of collection, for a disk of so many bytes; none, if nothing is collected.
pub type Policies = Arc<dyn Fn(u64) -> Vec<PruneOptions> + Send + Sync>;

/// What prunes the store of a builder. Cheap to clone.
#[derive(Clone)]
pub struct Pruner(Arc<Inner>);

struct Inner {
    builder: Builder,
    policies: Policies,
    rounds: Mutex<Rounds>,
    /// A build has ended.
    asked: Notify,
}

/// Whether collection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounds {
    /// No build has ended since the last round.
    Over,
    /// A task collects, or pauses; and whether it is to begin another round.
    GoOn { again: bool },
}

impl Rounds {
    /// A build has ended. Returns whether a task has to be started.
    fn ask(&mut self) -> bool {
        std::mem::replace(self, Self::GoOn { again: true }) == Self::Over
    }

    /// A round begins, which is for all builds that have ended.
    fn begin(&mut self) {
        *self = Self::GoOn { again: false };
    }

    /// A round and the pause after it are over. Returns whether there is to be another one.
    fn end(&mut self) -> bool {
        let again = *self == Self::GoOn { again: true };
        if !again {
            *self = Self::Over;
        }
        again
    }
}

impl Pruner {
    /// Prunes by these policies.
    pub fn new(builder: Builder, policies: Policies) -> Self {
        let rounds = Mutex::new(Rounds::Over);
        Self(Arc::new(Inner { builder, policies, rounds, asked: Notify::new() }))
    }

    /// The policies for the disk that the store is on.
    pub fn policies(&self) -> Vec<PruneOptions> {
        (self.0.policies)(self.0.builder.store().disk_size().unwrap_or_default())
    }

    /// Prunes by policy, soon, if there are policies: at most once a minute, unless the store takes more than
    /// they allow.
    pub fn collect_soon(&self) {
        if self.policies().is_empty() {
            return;
        }
        // In the last moments of a process there is nothing that would collect.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.rounds().ask() {
            runtime.spawn(self.clone().collect_again_and_again());
        } else {
            self.0.asked.notify_one();
        }
    }

    /// Does what [`Pruner::collect_soon`] does when this is dropped: also after a build whose client has gone.
    pub(crate) fn collect_at_end(&self) -> CollectAtEnd {
        CollectAtEnd(self.clone())
    }

    async fn collect_again_and_again(self) {
        sleep(DELAY).await;
        loop {
            self.rounds().begin();
            let policies = self.policies();
            let begun = Instant::now();
            self.collect(&policies).await;
            let outgrown = self.outgrown(&policies, begun.elapsed() * REST);
            let is_early = tokio::time::timeout(PAUSE, outgrown).await.is_ok();
            if !is_early && !self.rounds().end() {
                return;
            }
        }
    }

    async fn collect(&self, policies: &[PruneOptions]) {
        let mut removed = Vec::new();
        let mut on_removed = |usage: Usage| {
            tracing::debug!(id = usage.id, "collected");
            removed.push(usage.id);
        };
        let collected = self.0.builder.store().collect(policies, &mut on_removed).await;
        self.forget(removed).await;
        if let Err(error) = collected {
            tracing::warn!(%error, "collection failed");
        }
    }

    /// Waits until builds have made more than the policies allow, but at least this long.
    async fn outgrown(&self, policies: &[PruneOptions], mut rest: Duration) {
        loop {
            sleep(rest).await;
            self.0.asked.notified().await;
            let begun = Instant::now();
            match self.0.builder.store().is_beyond(policies).await {
                Ok(true) => return,
                Ok(false) => rest = begun.elapsed() * REST_FROM_COUNTING,
                // The next round says so.
                Err(_) => return std::future::pending().await,
            }
        }
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

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the store collected when it is dropped.
pub(crate) struct CollectAtEnd(Pruner);

impl Drop for CollectAtEnd {
    fn drop(&mut self) {
        self.0.collect_soon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_ends_in_the_pause_has_its_round_after_it() {
        let mut rounds = Rounds::Over;
        assert!(rounds.ask(), "the first build starts a task");
        assert!(!rounds.ask(), "the next finds it");
        rounds.begin();
        assert!(!rounds.ask());
        assert!(rounds.end());
        rounds.begin();
        assert!(!rounds.end(), "nobody has asked for another");
        assert!(rounds.ask());
    }
}
