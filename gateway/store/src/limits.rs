//! Which bounds of policies hold at every moment, and how much headroom collection leaves below them.
//!
//! Numbers in, numbers out. What a policy removes because of age or kind is no matter of bounds: only strict
//! policies ([`PruneOptions::is_strict`]) have a [`Limit`].

use crate::collect::PruneOptions;

/// Which part of a bound is left free by collection, so that the next writes fit without another one.
const PART: u64 = 4;
/// More than this is not left free, in bytes, however large the bound is.
const MOST: u64 = 1 << 30;

/// The bounds of one strict policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What may stay in any case.
    reserved: u64,
    /// What all may take together, and not less than what may stay.
    max_used: Option<u64>,
    /// What has to be free on the disk.
    min_free: u64,
}

impl Limit {
    /// The bounds of a policy that has to hold at every moment.
    pub(crate) fn of(policy: &PruneOptions) -> Option<Self> {
        let PruneOptions { reserved_space: reserved, max_used_space, min_free_space, .. } = *policy;
        let has_bound = max_used_space != 0 || min_free_space != 0;
        (policy.is_strict() && has_bound).then(|| Self {
            reserved,
            max_used: (max_used_space != 0).then(|| max_used_space.max(reserved)),
            min_free: min_free_space,
        })
    }

    /// Whether a bound does not hold where so much is used and so much free, and something may be removed.
    pub(crate) fn is_exceeded(&self, used: u64, free: u64) -> bool {
        self.is_beyond(used, free, 0)
    }

    /// Whether half of the headroom is used up: time to collect, while there still is the other half for what
    /// is written meanwhile.
    pub(crate) fn is_near(&self, used: u64, free: u64) -> bool {
        self.is_beyond(used, free, 2)
    }

    /// Half of the headroom, in bytes: who begins to write finds so much, as a rule.
    pub(crate) fn half(&self) -> u64 {
        let used = self.max_used.map(|most| self.headroom(most));
        let free = Some(headroom(self.min_free)).filter(|_| self.min_free != 0);
        used.into_iter().chain(free).min().unwrap_or_default() / 2
    }

    /// The bounds to collect by, so that afterwards there is headroom, and `wanted` bytes can be written
    /// besides.
    pub(crate) fn goal(&self, wanted: u64) -> PruneOptions {
        let below = |most: u64| most.saturating_sub(self.headroom(most)).saturating_sub(wanted);
        let above = self.min_free.saturating_add(headroom(self.min_free)).saturating_add(wanted);
        PruneOptions {
            reserved_space: self.reserved,
            // 0 would be no bound.
            max_used_space: self.max_used.map_or(0, |most| below(most).max(self.reserved).max(1)),
            min_free_space: if self.min_free == 0 { 0 } else { above },
            ..PruneOptions::default()
        }
    }

    /// Whether a bound does not hold from which so large a part of the headroom is taken; 0 is nothing.
    fn is_beyond(&self, used: u64, free: u64, part: u64) -> bool {
        let part = |headroom: u64| headroom.checked_div(part).unwrap_or_default();
        let is_beyond = self.max_used.is_some_and(|most| used > most - part(self.headroom(most)));
        let is_full = free < self.min_free.saturating_add(part(headroom(self.min_free)));
        used > self.reserved && (is_beyond || self.min_free != 0 && is_full)
    }

    /// What may stay in any case leaves less room for it.
    fn headroom(&self, most: u64) -> u64 {
        headroom(most).min(most - self.reserved)
    }
}

fn headroom(bound: u64) -> u64 {
    (bound / PART).min(MOST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limit(reserved_space: u64, max_used_space: u64, min_free_space: u64) -> Option<Limit> {
        let bounds =
            PruneOptions { reserved_space, max_used_space, min_free_space, ..Default::default() };
        Limit::of(&bounds)
    }

    fn goal(limit: Option<Limit>, wanted: u64) -> (u64, u64) {
        let goal = limit.unwrap().goal(wanted);
        (goal.max_used_space, goal.min_free_space)
    }

    #[test]
    fn only_what_removes_everything_beyond_a_bound_is_a_limit() {
        assert!(limit(10, 0, 0).is_none(), "what may stay is no bound");
        assert!(limit(0, 0, 0).is_none());
        let strict = PruneOptions { max_used_space: 80, ..Default::default() };
        assert!(Limit::of(&strict).is_some());
        let patient = PruneOptions { keep_duration: Duration::from_secs(1), ..strict.clone() };
        let choosy = PruneOptions { filter: vec!["type==source.local".into()], ..strict };
        assert!(Limit::of(&patient).is_none() && Limit::of(&choosy).is_none());
    }

    #[test]
    fn headroom_is_a_part_of_the_bound_but_no_more_than_a_gibibyte() {
        assert_eq!(goal(limit(0, 80, 0), 0), (60, 0));
        assert_eq!(goal(limit(0, 800 << 30, 0), 0), (799 << 30, 0));
        assert_eq!(goal(limit(0, 0, 80), 0), (0, 100));
        assert_eq!(goal(limit(0, 80, 80), 5), (55, 105));
    }

    #[test]
    fn what_may_stay_stays_whatever_the_headroom() {
        assert_eq!(goal(limit(75, 80, 0), 0), (75, 0));
        assert_eq!(goal(limit(90, 80, 0), 20), (90, 0), "it counts more than the bound");
        assert_eq!(goal(limit(0, 80, 0), 100), (1, 0), "a bound of 0 would be none");
    }

    #[test]
    fn a_bound_is_near_before_it_is_exceeded() {
        let used = limit(20, 80, 0).unwrap();
        let near = |used_bytes| (used.is_near(used_bytes, 0), used.is_exceeded(used_bytes, 0));
        assert_eq!(
            [70, 71, 80, 81].map(near),
            [(false, false), (true, false), (true, false), (true, true),]
        );
        let free = limit(20, 0, 80).unwrap();
        let near = |free_bytes| (free.is_near(21, free_bytes), free.is_exceeded(21, free_bytes));
        assert_eq!(
            [90, 89, 80, 79].map(near),
            [(false, false), (true, false), (true, false), (true, true),]
        );
        assert!(!free.is_exceeded(20, 0), "nothing may be removed");
    }
}
