//! How much the store takes now, and whoever is about to write waits until there is space for it.
//!
//! Counting everything takes time; [`Store::collect`] does it. From then on an [`Estimate`] goes on: what was
//! counted, and what the disk has lost since, which one `statvfs` says. What others write there is taken for the
//! store's until the next count; what others delete is not taken for space.
//! Writers announce what they write ([`Store::allocate`]). Where that exceeds a bound, they wait while
//! somebody collects, a [`Collector`] that also looks after what announces nothing, such as the steps of
//! builds. No one waits for long, and no one is refused.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::Store;
use crate::collect::PruneOptions;
use crate::limits::Limit;
use crate::store::Inner;

/// How long a writer waits for collection, at most; then it goes on regardless.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often the disk is looked at while somebody may write without saying so.
const SAMPLE: Duration = Duration::from_millis(20);
/// How much has to be written, in bytes, before it is worth counting anew.
const GRAIN: u64 = 256 << 10;
/// How many times longer than it took to count the store it is not counted again, if that was of no use.
const REST: u32 = 20;
/// How long after the end of something handles of it may be dropped.
const RELEASE: Duration = Duration::from_secs(1);
/// How long nothing is collected after that has failed.
const REST_FROM_FAILURE: Duration = Duration::from_secs(1);

/// What the store takes, as far as is known without counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Estimate {
    /// What was there when it was counted last.
    counted: u64,
    /// What was free then.
    counted_free: u64,
    /// What was free when it was looked at last.
    free: u64,
    /// What the disk has lost since the count.
    lost: u64,
    /// What was announced since the count.
    announced: u64,
    /// What is announced and not known to be written.
    pending: u64,
}

impl Estimate {
    /// Before anything was counted all that the disk has may be the store's.
    fn of_disk(size: u64, free: u64) -> Self {
        Self { counted: size.saturating_sub(free), counted_free: free, free, ..Self::default() }
    }

    /// So much is free now.
    fn see(&mut self, free: u64) {
        self.lost += self.free.saturating_sub(free);
        self.free = free;
    }

    /// The store was counted, when so much was free.
    fn count(&mut self, counted: u64, free: u64) {
        let pending = self.pending;
        *self = Self { counted, counted_free: free, free, lost: 0, announced: pending, pending };
    }

    fn used(&self) -> u64 {
        self.counted + (self.lost + self.pending).max(self.announced)
    }

    /// What is used and what is free for certain, whatever others write on the disk.
    fn by_own(&self) -> (u64, u64) {
        (self.counted + self.announced, self.counted_free.saturating_sub(self.announced))
    }

    /// Whether something was written since the count.
    fn has_changed(&self) -> bool {
        self.lost.max(self.announced) >= GRAIN
    }
}

/// Until when nothing is collected, because the last time it was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    until: Instant,
    /// Nothing more could be removed; otherwise others write on the disk.
    is_exhausted: bool,
}

/// What a round of collection came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// What the store takes after it.
    pub(crate) used: u64,
    /// What was free when that was counted.
    pub(crate) free: u64,
    /// How long it took to count.
    pub(crate) counting: Duration,
    /// Whether anything was removed.
    pub(crate) removed: bool,
}

/// Decides who waits, and when to collect.
#[derive(Debug, Default)]
struct Watch {
    estimate: Estimate,
    limits: Vec<Limit>,
    rest: Option<Rest>,
    /// Until then more may be removed than the last time, because something that used it has ended.
    released_until: Option<Instant>,
    /// How many collect when it is time.
    collectors: usize,
    /// What those who wait want to write.
    wanted: u64,
}

impl Watch {
    /// Whether a writer of so many bytes should wait.
    fn has_to_wait(&self, bytes: u64, now: Instant) -> bool {
        let exceeds = |(used, free): (u64, u64)| {
            let (used, free) = (used.saturating_add(bytes), free.saturating_sub(bytes));
            self.limits.iter().any(|limit| limit.is_exceeded(used, free))
        };
        let is_own = || exceeds(self.estimate.by_own());
        let all = (self.estimate.used(), self.estimate.free);
        self.collectors > 0 && exceeds(all) && !self.rests(now, is_own)
    }

    /// Whether it is time to collect: for those who wait, or because a bound is near.
    fn is_due(&self, now: Instant) -> bool {
        if self.wanted > 0 && self.has_to_wait(self.wanted, now) {
            return true;
        }
        let Estimate { free, .. } = self.estimate;
        let is_near = self.limits.iter().any(|limit| limit.is_near(self.estimate.used(), free));
        let is_released = self.released_until.is_some_and(|until| now < until);
        let may_help = self.estimate.has_changed() || is_released;
        is_near && may_help && !self.rests(now, || false)
    }

    /// Whether it was of no use to collect a moment ago, and nothing says that it is now.
    fn rests(&self, now: Instant, is_own: impl Fn() -> bool) -> bool {
        let rest = self.rest.filter(|rest| now < rest.until);
        rest.is_some_and(|rest| rest.is_exhausted || !is_own())
    }

    /// A round of collection is over.
    fn end(&mut self, outcome: Outcome, now: Instant) {
        let Outcome { used, free, counting, removed } = outcome;
        self.estimate.count(used, free);
        let is_exhausted = self.limits.iter().any(|limit| limit.is_near(used, free));
        let until = now + counting * REST;
        self.rest = (is_exhausted || !removed).then_some(Rest { until, is_exhausted });
    }

    /// A round of collection has failed.
    fn fail(&mut self, now: Instant) {
        self.rest = Some(Rest { until: now + REST_FROM_FAILURE, is_exhausted: true });
    }
}

/// The space of a store.
#[derive(Debug, Default)]
pub(crate) struct Space {
    watch: Mutex<Watch>,
    /// Wakes those who wait, on threads and in tasks: a round is over, or no one collects any more.
    ended: Condvar,
    rounds: watch::Sender<u64>,
    /// Somebody waits.
    asked: Notify,
}

impl Space {
    /// A round of collection begins.
    pub(crate) fn begin(&self) -> Round<'_> {
        Round { space: self, wanted: self.watch().wanted, has_ended: false }
    }

    fn wake(&self) {
        self.ended.notify_all();
        self.rounds.send_modify(|rounds| *rounds += 1);
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A round of collection. Dropping it before [`Round::end`] is the end of one that failed.
pub(crate) struct Round<'a> {
    space: &'a Space,
    wanted: u64,
    has_ended: bool,
}

impl Round<'_> {
    /// How many bytes are waited for.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.space.watch().end(outcome, Instant::now());
        self.has_ended = true;
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.space.watch().fail(Instant::now());
        }
        self.space.wake();
    }
}

/// Bytes that are about to be written. Dropping it says that they are.
#[derive(Debug)]
pub struct Allocation {
    store: Store,
    bytes: u64,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let mut watch = self.store.inner.space.watch();
        watch.estimate.pending = watch.estimate.pending.saturating_sub(self.bytes);
    }
}

impl Store {
    /// Says that so many bytes are about to be written into the root, and waits while collection makes
    /// space for them: not for long, and only if a bound would be exceeded and something collects.
    pub async fn allocate(&self, bytes: u64) -> Allocation {
        self.wait_for(bytes).await;
        self.inner.announce(bytes)
    }

    /// Waits while a bound is near, for who begins to write and cannot say how much; not longer than
    /// [`Store::allocate`].
    pub(crate) async fn wait_for_headroom(&self) {
        let half = self.inner.space.watch().limits.iter().map(Limit::half).min();
        if let Some(half) = half {
            self.wait_for(half).await;
        }
    }

    async fn wait_for(&self, bytes: u64) {
        let space = &self.inner.space;
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let mut rounds = space.rounds.subscribe();
        let mut waits = None;
        while self.inner.has_to_wait(bytes) && tokio::time::Instant::now() < deadline {
            rounds.borrow_and_update();
            waits.get_or_insert_with(|| Waiting::begin(&self.inner, bytes));
            // Looked at again, lest the round was over before it was waited for.
            if self.inner.has_to_wait(bytes)
                && tokio::time::timeout_at(deadline, rounds.changed()).await.is_err()
            {
                break;
            }
        }
    }

    /// [`Store::allocate`] on a thread that may block.
    pub fn allocate_blocking(&self, bytes: u64) -> Allocation {
        let space = &self.inner.space;
        let deadline = Instant::now() + TIMEOUT;
        let mut waits = None;
        while self.inner.has_to_wait(bytes) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            waits.get_or_insert_with(|| Waiting::begin(&self.inner, bytes));
            let watch = space.watch();
            if watch.has_to_wait(bytes, Instant::now()) {
                let woken = space.ended.wait_timeout(watch, left);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
            }
        }
        self.inner.announce(bytes)
    }

    /// Notes that something has ended that used what is stored: what it used may be removed, at once or when
    /// its last handle is dropped.
    pub fn released(&self) {
        let mut watch = self.inner.space.watch();
        (watch.released_until, watch.rest) = (Some(Instant::now() + RELEASE), None);
    }

    /// Keeps to the bounds of strict policies, as long as the handle lives: whoever has it collects when it
    /// says so.
    pub fn keep_to(&self, policies: &[PruneOptions]) -> Collector {
        let mut watch = self.inner.space.watch();
        watch.limits = policies.iter().filter_map(Limit::of).collect();
        watch.collectors += 1;
        drop(watch);
        Collector(self.clone())
    }
}

/// Says when to collect.
#[derive(Debug)]
pub struct Collector(Store);

impl Collector {
    /// Waits until somebody waits for space, or the store comes near a bound.
    pub async fn due(&self) {
        while !self.is_due() {
            // Whoever waits says so at once.
            tokio::time::timeout(SAMPLE, self.0.inner.space.asked.notified()).await.ok();
        }
    }

    /// Whether somebody waits for space, or the store is near a bound, and collecting may help.
    pub fn is_due(&self) -> bool {
        self.0.inner.look();
        self.0.inner.space.watch().is_due(Instant::now())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.0.inner.space.watch().collectors -= 1;
        self.0.inner.space.wake();
    }
}

impl Inner {
    fn has_to_wait(&self, bytes: u64) -> bool {
        self.look();
        self.space.watch().has_to_wait(bytes, Instant::now())
    }

    fn announce(self: &Arc<Self>, bytes: u64) -> Allocation {
        let mut watch = self.space.watch();
        watch.estimate.announced += bytes;
        watch.estimate.pending += bytes;
        drop(watch);
        Allocation { store: Store { inner: self.clone() }, bytes }
    }

    /// Begins the estimate.
    pub(crate) fn measure_disk(&self) {
        if let Ok((size, free)) = self.disk() {
            self.space.watch().estimate = Estimate::of_disk(size, free);
        }
    }

    /// Looks how much is free. A disk that cannot be measured is one on which nothing has changed.
    fn look(&self) {
        if let Ok((_, free)) = self.disk() {
            self.space.watch().estimate.see(free);
        }
    }
}

/// Somebody waits for space.
struct Waiting<'a> {
    store: &'a Inner,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn begin(store: &'a Inner, bytes: u64) -> Self {
        store.space.watch().wanted += bytes;
        store.space.asked.notify_one();
        Self { store, bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.store.space.watch().wanted -= self.bytes;
    }
}

/// Announces what is written bit by bit, so that not every bit is a look at the disk.
#[derive(Debug)]
pub struct Meter {
    store: Store,
    /// What was not announced yet.
    bytes: u64,
    allocation: Option<Allocation>,
}

impl Meter {
    /// Of what is written into a store.
    pub fn of(store: &Store) -> Self {
        Self { store: store.clone(), bytes: 0, allocation: None }
    }

    /// So many bytes are about to be written; see [`Store::allocate`].
    pub async fn add(&mut self, bytes: u64) {
        if let Some(bytes) = self.due(bytes) {
            self.allocation = Some(self.store.allocate(bytes).await);
        }
    }

    /// The same on a thread that may block.
    pub fn add_blocking(&mut self, bytes: u64) {
        if let Some(bytes) = self.due(bytes) {
            self.allocation = Some(self.store.allocate_blocking(bytes));
        }
    }

    fn due(&mut self, bytes: u64) -> Option<u64> {
        self.bytes += bytes;
        let due = (self.bytes >= GRAIN).then(|| std::mem::take(&mut self.bytes));
        if due.is_some() {
            // What was announced before is written by now.
            self.allocation = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Up to 64 MiB, of which collection leaves 16; 40 are there, and others have the rest of the disk.
    fn watch() -> Watch {
        let bound = PruneOptions { max_used_space: 64 * MIB, ..PruneOptions::default() };
        let mut watch = Watch { collectors: 1, ..Watch::default() };
        watch.limits.extend(Limit::of(&bound));
        watch.estimate.count(40 * MIB, 1000 * MIB);
        watch
    }

    fn outcome(used: u64, removed: bool) -> Outcome {
        let counting = Duration::from_millis(5);
        Outcome { used: used * MIB, free: 1000 * MIB, counting, removed }
    }

    #[test]
    fn what_the_disk_loses_is_taken_for_the_stores_and_what_it_gains_is_not() {
        let mut estimate = watch().estimate;
        for free in [990, 995, 980] {
            estimate.see(free * MIB);
        }
        assert_eq!(estimate.used(), (40 + 10 + 15) * MIB);
        estimate.count(50 * MIB, 980 * MIB);
        assert_eq!(estimate.used(), 50 * MIB);
    }

    #[test]
    fn what_was_announced_counts_once_although_the_disk_loses_it_too() {
        let mut estimate = watch().estimate;
        (estimate.announced, estimate.pending) = (10 * MIB, 10 * MIB);
        assert_eq!(estimate.used(), 50 * MIB, "nothing of it is written");
        estimate.see(990 * MIB);
        estimate.pending = 0;
        assert_eq!(estimate.used(), 50 * MIB, "all of it is");
        estimate.see(1010 * MIB);
        assert_eq!(estimate.used(), 50 * MIB, "whatever others delete");
        estimate.pending = 5 * MIB;
        estimate.count(60 * MIB, 1010 * MIB);
        assert_eq!(estimate.used(), 65 * MIB, "what is still to come is not in the count");
    }

    #[test]
    fn a_writer_waits_if_a_bound_would_be_exceeded_and_somebody_collects() {
        let (mut watch, now) = (watch(), Instant::now());
        assert!(!watch.has_to_wait(24 * MIB, now));
        assert!(watch.has_to_wait(25 * MIB, now));
        watch.collectors = 0;
        assert!(!watch.has_to_wait(25 * MIB, now));
    }

    #[test]
    fn it_is_time_to_collect_when_half_of_the_headroom_is_taken_or_somebody_waits() {
        let (mut watch, now) = (watch(), Instant::now());
        watch.estimate.see((1000 - 16) * MIB);
        assert!(!watch.is_due(now));
        watch.estimate.see((1000 - 17) * MIB);
        assert!(watch.is_due(now));
        let mut other = self::watch();
        other.wanted = 25 * MIB;
        assert!(other.is_due(now));
    }

    #[test]
    fn it_rests_when_nothing_more_can_be_removed_and_then_only_goes_on_if_something_has_changed() {
        let (mut watch, now) = (watch(), Instant::now());
        watch.end(outcome(70, true), now);
        watch.estimate.see(990 * MIB);
        let (soon, later) = (now + Duration::from_millis(99), now + Duration::from_millis(101));
        assert!(!watch.is_due(soon) && !watch.has_to_wait(MIB, soon), "no one waits in vain");
        assert!(watch.is_due(later) && watch.has_to_wait(MIB, later));
        watch.end(outcome(70, true), now);
        assert!(!watch.is_due(later), "nothing was written since");
        watch.released_until = Some(later + Duration::from_millis(1));
        assert!(watch.is_due(later), "but something has ended");
    }

    #[test]
    fn it_rests_when_others_have_filled_the_disk_but_not_from_what_is_its_own() {
        let (mut watch, now) = (watch(), Instant::now());
        watch.end(outcome(40, false), now);
        watch.estimate.see(970 * MIB);
        assert!(!watch.is_due(now) && !watch.has_to_wait(MIB, now));
        watch.estimate.announced = 24 * MIB;
        assert!(watch.has_to_wait(MIB, now), "this much was announced");
        watch.end(outcome(40, true), now);
        watch.estimate.see(940 * MIB);
        assert!(watch.is_due(now), "it was of use the last time");
    }

    #[test]
    fn nobody_waits_for_space_that_others_take_once_collecting_was_of_no_use() {
        let (mut watch, now) = (watch(), Instant::now());
        let bound = PruneOptions { min_free_space: 800 * MIB, ..PruneOptions::default() };
        watch.limits = Limit::of(&bound).into_iter().collect();
        watch.estimate.see(790 * MIB);
        assert!(watch.has_to_wait(MIB, now), "there may be something to remove");
        watch.end(outcome(40, false), now);
        watch.estimate.see(790 * MIB);
        assert!(!watch.has_to_wait(MIB, now), "there is not, and it is not the store that grows");
        watch.estimate.announced = 200 * MIB;
        assert!(watch.has_to_wait(MIB, now), "now it is");
    }

    #[test]
    fn a_round_that_fails_is_not_repeated_at_once() {
        let space = Space::default();
        *space.watch() = watch();
        space.watch().wanted = 30 * MIB;
        let round = space.begin();
        assert_eq!(round.wanted(), 30 * MIB);
        drop(round);
        assert!(!space.watch().is_due(Instant::now()));
    }
}
