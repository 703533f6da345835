//! Pruning by hand and collecting by policy.
//!
//! [`plan`] decides from a list of usage what goes and in which order, and touches nothing;
//! [`Store::prune`] and [`Store::collect`] carry that out. What is asked for by hand is BuildKit's prune.
//! Collection counts every byte of the root against the bounds of strict policies, and leaves headroom below
//! them ([`crate::limits`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant, SystemTime};

use crate::Store;
use crate::error::StoreError;
use crate::filter::{Filter, FilterError};
use crate::index::Change;
use crate::limits::Limit;
use crate::record::Kind;
use crate::space::Outcome;
use crate::store::Inner;
use crate::usage::{Count, Usage};

/// How many records one transaction removes.
const BATCH: usize = 64;

/// What to remove, and how much to leave.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also remove internal records and images of frontends.
    pub all: bool,
    /// Leave images that have a name: whoever clears a cache has not asked for them to go.
    pub keep_images: bool,
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

impl PruneOptions {
    /// Whether they say how much space may be taken.
    fn has_bounds(&self) -> bool {
        self.reserved_space != 0 || self.max_used_space != 0 || self.min_free_space != 0
    }

    /// Whether they remove whatever is beyond their bounds.
    pub(crate) fn is_strict(&self) -> bool {
        self.has_bounds() && self.filter.is_empty() && self.keep_duration.is_zero()
    }
}

impl Store {
    /// Removes records, least recently used first, and tells of each.
    ///
    /// What a handle uses stays, and what another record stands on stays until that one is gone.
    /// Without a bound on space everything that matches is removed; with one, only until it holds.
    /// When this returns, the bytes are free.
    pub async fn prune(
        &self,
        options: PruneOptions,
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), PruneError> {
        let filter = Filter::parse(&options.filter)?;
        let list = self.inner.usage().await?;
        let found = Found { list, besides: 0, free: self.inner.disk()?.1 };
        let doomed = plan(found, &options, &filter, SystemTime::now());
        self.remove_all(&doomed, on_removed).await
    }

    /// Applies policies one after the other, and tells of each record that is removed.
    ///
    /// The bounds of strict policies are for all bytes of the root, and less than they allow is left: headroom,
    /// and space for those who wait for it ([`Store::allocate`]). They hold again when this returns, unless what
    /// is in use takes more.
    pub async fn collect(
        &self,
        policies: &[PruneOptions],
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), PruneError> {
        let round = self.inner.space.begin();
        let mut counted = self.counted().await?;
        let (mut counting, mut removed) = (counted.elapsed, false);
        for policy in policies {
            let filter = Filter::parse(&policy.filter)?;
            let Count { list, besides, free } = counted.count.clone();
            let (found, options) = match Limit::of(policy) {
                Some(limit) => {
                    let goal = PruneOptions { all: policy.all, ..limit.goal(round.wanted()) };
                    (Found { list, besides, free }, goal)
                }
                None => (Found { list, besides: 0, free }, policy.clone()),
            };
            let doomed = plan(found, &options, &filter, SystemTime::now());
            if !doomed.is_empty() {
                self.remove_all(&doomed, on_removed).await?;
                counted = self.counted().await?;
                (counting, removed) = (counting.max(counted.elapsed), true);
            }
        }
        let Count { free, .. } = counted.count;
        round.end(Outcome { used: counted.count.used(), free, counting, removed });
        Ok(())
    }

    /// The size of the disk the store is on, in bytes.
    ///
    /// # Errors
    ///
    /// If the disk cannot be measured.
    pub fn disk_size(&self) -> Result<u64, StoreError> {
        Ok(self.inner.disk()?.0)
    }

    /// Counts everything once what is on its way out is gone.
    async fn counted(&self) -> Result<Counted, StoreError> {
        self.inner.trash.settle().await;
        let begun = Instant::now();
        let count = self.inner.count().await?;
        Ok(Counted { count, elapsed: begun.elapsed() })
    }

    async fn remove_all(
        &self,
        doomed: &[Usage],
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), PruneError> {
        for batch in doomed.chunks(BATCH) {
            self.remove(batch, on_removed).await?;
        }
        self.inner.trash.settle().await;
        self.inner.reserve.refill();
        Ok(())
    }

    async fn remove(
        &self,
        batch: &[Usage],
        on_removed: &mut (dyn FnMut(Usage) + Send),
    ) -> Result<(), StoreError> {
        let store = &self.inner;
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        for usage in batch {
            let id = usage.id.clone();
            if let Some(digest) = id.strip_prefix("blob ") {
                if store.consider_blob(digest) {
                    on_removed(usage.clone());
                }
            } else if usage.mutable {
                if !store.live().directories.contains(&id) {
                    changes.push(Change::DeleteDirectory { id });
                    removed.push(usage);
                }
            } else if !store.ref_is_live(&id) {
                // A handle taken meanwhile keeps the layers, whatever happens to the record.
                changes.push(Change::Delete { id });
                removed.push(usage);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let freed = match store.index.commit(changes.clone()).await {
            Err(error) if error.is_full() => {
                // Not even what was kept back for this is there. The bytes go first, then.
                store.discard_files(removed.iter().map(|usage| usage.id.as_str()))?;
                store.trash.settle().await;
                store.index.commit(changes).await?
            }
            freed => freed?,
        };
        store.consider(freed);
        removed.into_iter().cloned().for_each(on_removed);
        Ok(())
    }
}

/// What is stored, and how long it took to count that.
struct Counted {
    count: Count,
    elapsed: Duration,
}

impl Inner {
    /// The size of the disk and what is free of it.
    pub(crate) fn disk(&self) -> Result<(u64, u64), StoreError> {
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| StoreError::io("measure the disk of", &self.root, error))?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_blocks), bytes(disk.f_bavail)))
    }

    /// Removes the files of records and directories whose rows are still there, as far as nothing
    /// else stands on them.
    fn discard_files<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
        let records: BTreeMap<_, _> = self.index.records()?.into_iter().collect();
        let directories: BTreeMap<_, _> = self.index.directories()?.into_iter().collect();
        let layers = records.values().flat_map(|row| &row.layers);
        let mut uses: BTreeMap<u64, usize> = BTreeMap::new();
        for number in layers.chain(directories.values().flat_map(|row| &row.base)) {
            *uses.entry(*number).or_default() += 1;
        }
        for id in ids {
            if let Some(row) = directories.get(id) {
                self.discard_layer(row.number);
            }
            for number in records.get(id).into_iter().flat_map(|row| &row.layers) {
                let Some(left) = uses.get_mut(number) else { continue };
                *left -= 1;
                if *left == 0 {
                    self.discard_layer(*number);
                }
            }
        }
        Ok(())
    }
}

/// What a plan is made from.
struct Found {
    list: Vec<Usage>,
    /// Bytes that count besides, and cannot be removed.
    besides: u64,
    /// What is free on the disk.
    free: u64,
}

/// What to remove, in order.
///
/// A record that others stand on becomes removable when the last of them is.
fn plan(found: Found, options: &PruneOptions, filter: &Filter, now: SystemTime) -> Vec<Usage> {
    let Found { list, besides, free } = found;
    let mut total = besides + list.iter().map(|usage| usage.size).sum::<u64>();
    let keep = bytes_to_keep(total, options, free);
    let mut children: BTreeMap<String, usize> = BTreeMap::new();
    for parent in list.iter().flat_map(|usage| &usage.parents) {
        *children.entry(parent.clone()).or_default() += 1;
    }
    let removable = |usage: &Usage| {
        let internal = matches!(usage.kind, Kind::Internal | Kind::Frontend);
        let unused = now.duration_since(usage.last_used).unwrap_or_default();
        let stays = options.keep_images && usage.kind == Kind::Image;
        !usage.in_use
            && !stays
            && (options.all || !internal)
            && unused >= options.keep_duration
            && filter.matches(usage)
    };
    let by_id: BTreeMap<String, Usage> =
        list.into_iter().map(|usage| (usage.id.clone(), usage)).collect();
    let order = |usage: &Usage| Reverse((usage.last_used, usage.usage_count, usage.id.clone()));
    let mut ready: BinaryHeap<_> = by_id
        .values()
        .filter(|usage| !children.contains_key(&usage.id) && removable(usage))
        .map(order)
        .collect();
    let mut doomed = Vec::new();
    while keep.is_none_or(|keep| total > keep) {
        let Some(Reverse((_, _, id))) = ready.pop() else { break };
        let usage = &by_id[&id];
        total -= usage.size;
        for parent in &usage.parents {
            let Some(left) = children.get_mut(parent) else { continue };
            *left -= 1;
            let parent = by_id.get(parent).filter(|parent| *left == 0 && removable(parent));
            ready.extend(parent.map(order));
        }
        doomed.push(usage.clone());
    }
    doomed
}

/// How many bytes may stay; `None` if space does not matter.
fn bytes_to_keep(total: u64, options: &PruneOptions, free: u64) -> Option<u64> {
    let PruneOptions { reserved_space, max_used_space, min_free_space, .. } = *options;
    if !options.has_bounds() {
        return None;
    }
    let mut keep = match (max_used_space, reserved_space) {
        // Only a bound on free space: all may stay as long as that holds.
        (0, 0) => total,
        (max, _) => max,
    };
    let missing = min_free_space.saturating_sub(free);
    if missing > 0 {
        let after = total.saturating_sub(missing);
        keep = if keep == 0 { after } else { keep.min(after) };
    }
    Some(keep.max(reserved_space))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(id: &str, used: u64, size: u64, parents: &[&str]) -> Usage {
        Usage {
            id: id.to_owned(),
            kind: Kind::Regular,
            description: String::new(),
            size,
            created: SystemTime::UNIX_EPOCH,
            last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            usage_count: 1,
            in_use: false,
            shared: false,
            parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
            mutable: false,
            interrupted: false,
        }
    }

    fn check(list: Vec<Usage>, options: &PruneOptions, expected: &[&str]) {
        check_besides(0, list, options, expected);
    }

    fn check_besides(besides: u64, list: Vec<Usage>, options: &PruneOptions, expected: &[&str]) {
        let filter = Filter::parse(&options.filter).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let doomed = plan(Found { list, besides, free: 500 }, options, &filter, now);
        let ids: Vec<&str> = doomed.iter().map(|usage| usage.id.as_str()).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_base_goes_after_what_stands_on_it() {
        let list = || vec![usage("base", 1, 5, &[]), usage("app", 9, 5, &["base"])];
        check(list(), &PruneOptions::default(), &["app", "base"]);
        let mut used = list();
        used[1].in_use = true;
        check(used, &PruneOptions::default(), &[]);
    }

    #[test]
    fn the_least_recently_used_goes_until_the_bound_holds() {
        let list = || (0..5).map(|n| usage(&format!("r{n}"), 5 - n, 10, &[])).collect::<Vec<_>>();
        let bound = PruneOptions { max_used_space: 30, ..PruneOptions::default() };
        check(list(), &bound, &["r4", "r3"]);
        let reserve = PruneOptions { reserved_space: 40, max_used_space: 10, ..bound };
        check(list(), &reserve, &["r4"]);
        let bound = PruneOptions { max_used_space: 30, ..PruneOptions::default() };
        check_besides(15, list(), &bound, &["r4", "r3", "r2", "r1"]);
        let free = PruneOptions { min_free_space: 515, ..PruneOptions::default() };
        check(list(), &free, &["r4", "r3"]);
        let enough = PruneOptions { min_free_space: 400, ..PruneOptions::default() };
        check(list(), &enough, &[]);
    }

    #[test]
    fn internal_records_need_all_and_recent_ones_stay() {
        let mut list = vec![usage("old", 1, 1, &[]), usage("new", 999, 1, &[])];
        list.push(Usage { kind: Kind::Frontend, ..usage("front", 1, 1, &[]) });
        let recent = Duration::from_secs(60);
        let options = PruneOptions { keep_duration: recent, ..PruneOptions::default() };
        check(list.clone(), &options, &["old"]);
        check(list, &PruneOptions { all: true, ..options }, &["front", "old"]);
    }
}
