//! In: places in the window, one after the other. Out: the longest match for each,
//! found along chains of places whose first four bytes hash alike.

use crate::level::Search;
use crate::memory::{common, load32, zeroed};
use crate::token::{MAX_DISTANCE, MAX_MATCH, Match};
use crate::window::Bytes;

/// The shortest match that is used; the format would allow three bytes.
pub(crate) const SHORTEST: usize = 4;

/// What counts as a match of no use.
pub(crate) const NO_MATCH: Match = Match { length: SHORTEST - 1, distance: 0 };

const HASH_BITS: u32 = 17;
const MULTIPLIER: u32 = 0x1e35_a7bd;

/// Matches of [`SHORTEST`] bytes farther back than this cost more than they save.
const SHORTEST_REACH: usize = 4096;

/// Remembers where hashes were seen.
///
/// A link holds the way to the place before as a distance, so links need no care
/// when the window slides. A distance too large for a link is out of reach anyway.
pub(crate) struct Chains {
    /// For each hash one more than the last place it was seen; 0 if that is not in
    /// the window. Half the size of whole numbers, these fit in the cache, which is
    /// worth more than the walk over all of them when the window slides.
    heads: Box<[u16; 1 << HASH_BITS]>,
    links: Box<[u16; MAX_DISTANCE]>,
}

impl Chains {
    pub(crate) fn new() -> Self {
        Self { heads: zeroed(), links: zeroed() }
    }

    /// Must be told when the window slides.
    pub(crate) fn slide(&mut self) {
        self.heads.iter_mut().for_each(|head| *head = head.saturating_sub(MAX_DISTANCE as u16));
    }

    /// Adds a place with at least four bytes; gives the distance to the place of
    /// the same hash before it, or one that reaches before the window.
    #[inline(always)]
    pub(crate) fn insert(&mut self, bytes: &Bytes, index: usize) -> usize {
        let hash = load32(bytes, index).swap_bytes().wrapping_mul(MULTIPLIER) >> (32 - HASH_BITS);
        // No place with four bytes is the last of the window, so this fits.
        let head = index as u16 + 1;
        let before = std::mem::replace(&mut self.heads[hash as usize], head);
        let distance = head.wrapping_sub(before);
        self.links[index % MAX_DISTANCE] = distance;
        usize::from(distance)
    }

    /// Adds all places of `range` that have four bytes before `end`.
    #[inline(always)]
    pub(crate) fn insert_all(&mut self, bytes: &Bytes, range: std::ops::Range<usize>, end: usize) {
        for index in range.start..range.end.min((end + 1).saturating_sub(SHORTEST)) {
            self.insert(bytes, index);
        }
    }

    /// The longest match for `index` longer than `floor`, the nearest of that
    /// length; [`NO_MATCH`] if there is none. `distance` is what
    /// [`Chains::insert`] gave, `ahead` how many bytes there are, more than `floor`.
    #[inline(always)]
    pub(crate) fn longest(
        &self,
        bytes: &Bytes,
        index: usize,
        (distance, ahead, floor): (usize, usize, usize),
        search: Search,
    ) -> Match {
        let reach = index.min(MAX_DISTANCE);
        if distance > reach {
            return NO_MATCH;
        }
        let limit = ahead.min(MAX_MATCH);
        let nice = search.nice.min(limit);
        let mut best = Match { length: floor, ..NO_MATCH };
        // A longer match must agree in the four bytes that end one byte past the
        // best so far, which rules out most candidates at one look.
        let tail_at = |place: usize, length: usize| load32(bytes, place + length + 1 - SHORTEST);
        let mut tail = tail_at(index, best.length);
        let mut place = index - distance;
        // How far back the next places may still lie.
        let first = index - reach;
        let mut tries = search.tries;
        loop {
            if tail_at(place, best.length) == tail {
                let length = common(bytes, place, index, limit);
                let distance = index - place;
                if length > best.length && (length > SHORTEST || distance <= SHORTEST_REACH) {
                    best = Match { length, distance };
                    if length >= nice {
                        break;
                    }
                    tail = tail_at(index, length);
                }
            }
            // The link of the place a full window away was just replaced by that of
            // `index` itself; any link leads out of reach from there.
            let link = usize::from(self.links[place % MAX_DISTANCE]);
            tries -= 1;
            if tries == 0 || link > place - first {
                break;
            }
            place -= link;
        }
        if best.distance == 0 { NO_MATCH } else { best }
    }
}
