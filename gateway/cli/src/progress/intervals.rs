//! When something was busy: spans of time that may overlap, repeat and still be open.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Spans by their start; an open one has no end yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals(BTreeMap<SystemTime, Option<SystemTime>>);

impl Intervals {
    /// Adds a span, or ends the one that started then.
    pub(crate) fn insert(&mut self, start: SystemTime, end: Option<SystemTime>) {
        self.0.insert(start, end);
    }

    /// Whether nothing ever started.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All spans, the oldest first; an open one has no end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SystemTime, Option<SystemTime>)> + '_ {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    /// When the newest span started.
    pub(crate) fn last_start(&self) -> Option<SystemTime> {
        self.0.last_key_value().map(|(start, _)| *start)
    }

    /// All spans of both.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (start, end) in &other.0 {
            let longest = self.0.entry(*start).or_insert(*end);
            // Open outlasts closed; of two closed ones the later end holds.
            *longest = match (*longest, *end) {
                (Some(one), Some(two)) => Some(one.max(two)),
                _ => None,
            };
        }
    }

    /// The time covered up to `now`; what overlaps counts once.
    pub(crate) fn busy(&self, now: SystemTime) -> Duration {
        let mut covered: Option<SystemTime> = None;
        let mut busy = Duration::ZERO;
        for (start, end) in &self.0 {
            let end = end.unwrap_or(now);
            let from = covered.map_or(*start, |until| until.max(*start));
            busy += end.duration_since(from).unwrap_or_default();
            covered = Some(covered.map_or(end, |until| until.max(end)));
        }
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn overlaps_count_once_and_gaps_do_not() {
        let mut intervals = Intervals::default();
        intervals.insert(at(1), Some(at(4)));
        intervals.insert(at(2), Some(at(5)));
        intervals.insert(at(10), None);
        assert_eq!(intervals.busy(at(11)), Duration::from_secs(5));
    }

    #[test]
    fn a_clock_that_runs_backwards_counts_nothing() {
        let mut intervals = Intervals::default();
        intervals.insert(at(10), Some(at(3)));
        assert_eq!(intervals.busy(at(1)), Duration::ZERO);
    }
}
