//! What is collected without anyone asking, and how much of it.
//!
//! The `gc` keys of a worker and the size of its disk come in, the store's policies go out.
//! BuildKit's default policies are here, for who says nothing.

use std::time::Duration;

use kiln_store::PruneOptions;

use super::quantity::DiskSpace;

/// How much may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What may stay in any case.
    pub reserved: DiskSpace,
    /// What all may take together.
    pub max_used: DiskSpace,
    /// What should be free on the disk.
    pub min_free: DiskSpace,
}

/// One policy of collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Internal records and images of frontends, too.
    pub all: bool,
    /// Only what one of these matches.
    pub filters: Vec<String>,
    /// Only what was not used for so long.
    pub keep_duration: Duration,
    /// How much may stay.
    pub bounds: Bounds,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What BuildKit reserves, and what it uses, at most.
const RESERVED: (u64, u64) = (10, 10_000_000_000);
const MAX_USED: (u64, u64) = (80, 100_000_000_000);
const MIN_FREE: u64 = 20;
/// Sources and mounts that are easily made again: what more of them than this is not kept for long.
const EASY: u64 = 512_000_000;

impl Bounds {
    /// No bounds.
    pub const NONE: Self =
        Self { reserved: DiskSpace::NONE, max_used: DiskSpace::NONE, min_free: DiskSpace::NONE };

    /// BuildKit's, for a disk of so many bytes.
    fn of_disk(total: u64) -> Self {
        let part = |(percent, most): (u64, u64)| match DiskSpace::Percent(percent) {
            part if part.on_disk(total) > most => DiskSpace::Bytes(most),
            part => part,
        };
        Self {
            reserved: part(RESERVED),
            max_used: part(MAX_USED),
            min_free: DiskSpace::Percent(MIN_FREE),
        }
    }
}

/// BuildKit's policies: fetched sources and cache mounts unused for two days once they take 512 MB,
/// anything unused for 60 days, then everything beyond the bounds, and last what only `all` removes.
/// Without bounds, those of BuildKit for the disk.
pub(super) fn defaults(bounds: Bounds, total: u64) -> Vec<Policy> {
    let bounds = if bounds == Bounds::NONE { Bounds::of_disk(total) } else { bounds };
    let beyond = Policy { all: false, filters: Vec::new(), keep_duration: Duration::ZERO, bounds };
    let easy = ["source.local", "exec.cachemount", "source.git.checkout"];
    vec![
        Policy {
            filters: easy.map(|kind| format!("type=={kind}")).into(),
            keep_duration: 2 * DAY,
            bounds: Bounds { max_used: DiskSpace::Bytes(EASY), ..Bounds::NONE },
            ..beyond.clone()
        },
        Policy { keep_duration: 60 * DAY, ..beyond.clone() },
        beyond.clone(),
        Policy { all: true, ..beyond },
    ]
}

impl Policy {
    /// What the store removes for it, on a disk of so many bytes.
    pub fn on_disk(&self, total: u64) -> PruneOptions {
        PruneOptions {
            all: self.all,
            keep_images: false,
            filter: self.filters.clone(),
            keep_duration: self.keep_duration,
            reserved_space: self.bounds.reserved.on_disk(total),
            max_used_space: self.bounds.max_used.on_disk(total),
            min_free_space: self.bounds.min_free.on_disk(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(total: u64, reserved: u64, max_used: u64, min_free: u64) {
        let policies = defaults(Bounds::NONE, total);
        let last = policies[3].on_disk(total);
        let bounds = (last.reserved_space, last.max_used_space, last.min_free_space);
        assert_eq!(bounds, (reserved, max_used, min_free));
        assert!(last.all && !policies[2].all);
    }

    #[test]
    fn default_bounds_are_parts_of_the_disk_and_no_more_than_enough() {
        check(1 << 40, 10_000_000_000, 100_000_000_000, 205_000_000_000);
        check(50 << 30, 6_000_000_000, 41_000_000_000, 11_000_000_000);
        check(0, 2_000_000_000, 2_000_000_000, 2_000_000_000);
    }

    #[test]
    fn what_is_easily_made_again_goes_first() {
        let given = Bounds { max_used: DiskSpace::Percent(50), ..Bounds::NONE };
        let policies = defaults(given, 100 << 30);
        let first = policies[0].on_disk(100 << 30);
        assert_eq!(first.max_used_space, EASY);
        assert_eq!(first.keep_duration, 2 * DAY);
        assert_eq!(first.filter[2], "type==source.git.checkout");
        assert_eq!(policies[1].on_disk(100 << 30).max_used_space, 51_000_000_000);
        assert_eq!(policies[1].on_disk(100 << 30).reserved_space, 0);
    }
}
