//! How long builds are remembered.
//!
//! Facts about records come in, the ids of those that go come out.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

/// How long builds are remembered. A record goes only when it is too old and there are enough newer
/// ones, as BuildKit has it: a quiet daemon remembers its last builds for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Younger records stay.
    pub max_age: Duration,
    /// So many of the newest records stay, however old.
    pub max_entries: u64,
}

/// What the policy looks at.
#[derive(Clone, Debug)]
pub(crate) struct Age {
    pub(crate) build: String,
    pub(crate) completed: SystemTime,
    /// Stays, and does not count.
    pub(crate) pinned: bool,
}

impl Policy {
    /// The builds that are to be forgotten at a time, newest first.
    pub(crate) fn expired(&self, ages: Vec<Age>, now: SystemTime) -> Vec<String> {
        let mut ages: Vec<Age> = ages.into_iter().filter(|age| !age.pinned).collect();
        ages.sort_by_key(|age| Reverse(age.completed));
        let beyond = usize::try_from(self.max_entries).unwrap_or(usize::MAX);
        // A clock that was set back makes nothing old.
        let old = |age: &Age| now.duration_since(age.completed).is_ok_and(|old| old > self.max_age);
        ages.into_iter().skip(beyond).filter(old).map(|age| age.build).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(policy: Policy, ages: &[(&str, u64, bool)]) -> Vec<String> {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let ages = ages.iter().map(|(build, completed, pinned)| Age {
            build: (*build).to_owned(),
            completed: at(*completed),
            pinned: *pinned,
        });
        policy.expired(ages.collect(), at(100))
    }

    #[test]
    fn a_record_goes_when_it_is_old_and_there_are_enough_newer_ones() {
        let policy = Policy { max_age: Duration::from_secs(50), max_entries: 2 };
        let ages = [("a", 10, false), ("b", 20, false), ("c", 30, false), ("d", 90, false)];
        assert_eq!(expired(policy, &ages), ["b", "a"]);
        assert_eq!(expired(policy, &ages[..2]), [""; 0], "few enough");
        let young = [("a", 60, false), ("b", 70, false), ("c", 80, false)];
        assert_eq!(expired(policy, &young), [""; 0], "young enough");
    }

    #[test]
    fn a_pinned_record_stays_and_takes_no_place() {
        let policy = Policy { max_age: Duration::ZERO, max_entries: 1 };
        let ages = [("a", 10, true), ("b", 20, false), ("c", 30, true)];
        assert_eq!(expired(policy, &ages), [""; 0]);
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_nothing() {
        let policy = Policy { max_age: Duration::ZERO, max_entries: 0 };
        assert_eq!(expired(policy, &[("a", 200, false)]), [""; 0]);
    }
}
