//! Collection by policy, while builds run and soon after them, and what is forgotten with what is removed.
//!
//! Builds say that they begin and end; rounds of collection go out. While builds run the bounds of strict
//! policies are kept: the store says when it comes near one, or when somebody waits for space
//! ([`kiln_store::Collector`]). After builds all policies have a round; after that there is a pause, and a
//! build that ends in it has its round at its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_build::Builder;
use kiln_store::{PruneOptions, Usage};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long after a build is collected, so that the next build does not wait for it.
const DELAY: Duration = Duration::from_secs(1);
/// How long nothing is collected after that, unless a bound is near.
const PAUSE: Duration = Duration::from_secs(60);
/// How long after the last build its handles may be dropped, and bounds are kept as while it ran.
const LINGER: Duration = Duration::from_secs(2);

/// The policies of collection, for a disk of so many bytes; none, if nothing is collected.
pub type Policies = Arc<dyn Fn(u64) -> Vec<PruneOptions> + Send + Sync>;

/// What prunes the store of a builder. Cheap to clone.
#[derive(Clone)]
pub struct Pruner(Arc<Inner>);

struct Inner {
    builder: Builder,
    policies: Policies,
    rounds: Mutex<Rounds>,
    running: watch::Sender<Running>,
    /// One round at a time.
    turn: tokio::sync::Mutex<()>,
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

/// What goes on while builds run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Running {
    builds: usize,
    /// A task keeps the bounds.
    is_watched: bool,
}

impl Running {
    /// A build begins. Returns whether a task has to be started.
    fn begin(&mut self) -> bool {
        self.builds += 1;
        !std::mem::replace(&mut self.is_watched, true)
    }

    /// A build has ended.
    fn end(&mut self) {
        self.builds -= 1;
    }

    /// The task is about to end. Returns whether it has to go on.
    fn goes_on(&mut self) -> bool {
        self.is_watched = self.builds > 0;
        self.is_watched
    }
}

impl Pruner {
    /// Prunes by these policies.
    pub fn new(builder: Builder, policies: Policies) -> Self {
        Self(Arc::new(Inner {
            builder,
            policies,
            rounds: Mutex::new(Rounds::Over),
            running: watch::Sender::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// The policies for the disk that the store is on.
    pub fn policies(&self) -> Vec<PruneOptions> {
        (self.0.policies)(self.0.builder.store().disk_size().unwrap_or_default())
    }

    /// Prunes by policy, soon, if there are policies: at most once a minute.
    pub fn collect_soon(&self) {
        if self.policies().is_empty() {
            return;
        }
        // In the last moments of a process there is nothing that would collect.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.rounds().ask() {
            runtime.spawn(self.clone().collect_again_and_again());
        }
    }

    /// A build runs until this is dropped, also if its client has gone: bounds are kept meanwhile, and
    /// afterwards [`Pruner::collect_soon`].
    pub(crate) fn build(&self) -> RunningBuild {
        let (mut is_first, policies) = (false, self.policies());
        self.0.running.send_modify(|running| is_first = running.begin());
        if is_first && !policies.is_empty() {
            tokio::spawn(self.clone().keep_to(policies));
        }
        RunningBuild(self.clone())
    }

    async fn collect_again_and_again(self) {
        sleep(DELAY).await;
        loop {
            self.rounds().begin();
            self.collect(&self.policies()).await;
            sleep(PAUSE).await;
            if !self.rounds().end() {
                return;
            }
        }
    }

    /// Collects when the store says so, until no build runs any more.
    async fn keep_to(self, policies: Vec<PruneOptions>) {
        loop {
            let collector = self.0.builder.store().keep_to(&policies);
            loop {
                tokio::select! {
                    () = collector.due() => self.collect(&policies).await,
                    () = self.idle() => break,
                }
            }
            // Before the next build may have another task started.
            drop(collector);
            let mut goes_on = false;
            self.0.running.send_modify(|running| goes_on = running.goes_on());
            if !goes_on {
                return;
            }
        }
    }

    /// Waits until no build has run for a while.
    async fn idle(&self) {
        let mut running = self.0.running.subscribe();
        loop {
            // The sender lives as long as this does.
            running.wait_for(|running| running.builds == 0).await.ok();
            let another = running.wait_for(|running| running.builds > 0);
            if timeout(LINGER, another).await.is_err() {
                return;
            }
        }
    }

    async fn collect(&self, policies: &[PruneOptions]) {
        let _turn = self.0.turn.lock().await;
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

/// A build that runs.
pub(crate) struct RunningBuild(Pruner);

impl Drop for RunningBuild {
    fn drop(&mut self) {
        let Pruner(inner) = &self.0;
        inner.builder.store().released();
        inner.running.send_modify(Running::end);
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

    #[test]
    fn one_task_keeps_the_bounds_for_all_builds_that_run() {
        let mut running = Running::default();
        assert!(running.begin(), "the first build starts a task");
        assert!(!running.begin(), "the next finds it");
        running.end();
        assert!(running.goes_on());
        running.end();
        assert!(!running.begin(), "the task has not ended yet");
        running.end();
        assert!(!running.goes_on());
        assert!(running.begin());
    }
}
