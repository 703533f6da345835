//! In: blocks of up to 65535 bytes with the 32 KiB before them. Out: the tokens of
//! each, found fast: one place is remembered for each hash, and places are skipped
//! where nothing matches.

use crate::block::MOST_STORED;
use crate::memory::{common, load32, zeroed};
use crate::slabs::{Bytes, HISTORY};
use crate::token::{MAX_DISTANCE, MAX_MATCH, Match, Token};

const HASH_BITS: u32 = 14;
const MULTIPLIER: u32 = 0x1e35_a7bd;

/// The length of the words that are hashed and compared.
const WORD: usize = 4;

/// The search stops this many bytes before the end of a block.
const MARGIN: usize = 15;

/// The shortest block that may be given.
pub(crate) const SHORTEST_BLOCK: usize = 128;

/// When the stamps have grown to this they are made small again.
const REBASE: u32 = 1 << 30;

/// Level 1.
pub(crate) struct Fast {
    /// For each hash the last place it was seen, as index plus `offset`; 0 for
    /// never, which lies out of reach of any index from [`HISTORY`] on.
    places: Box<[u32; 1 << HASH_BITS]>,
    offset: u32,
    tokens: Vec<Token>,
}

impl Fast {
    pub(crate) fn new() -> Self {
        Self { places: zeroed(), offset: 1, tokens: Vec::with_capacity(MOST_STORED) }
    }

    /// The tokens for the bytes from [`HISTORY`] to `end`, [`SHORTEST_BLOCK`] at
    /// least. The bytes before are those before this block in the stream.
    pub(crate) fn tokens(&mut self, bytes: &Bytes, end: usize) -> &[Token] {
        self.tokens.clear();
        let edge = end - MARGIN;
        let (mut start, mut covered) = (HISTORY, HISTORY);
        while let Some((index, distance)) = self.seek(bytes, start, edge) {
            self.literals(&bytes[covered..index]);
            covered = self.follow(bytes, index, distance, end);
            if covered >= edge {
                break;
            }
            // Its four bytes were just looked up, without success.
            start = covered + 1;
        }
        self.literals(&bytes[covered..end]);
        &self.tokens
    }

    /// Must be told when the next block begins, `len` bytes after this one.
    pub(crate) fn advance(&mut self, len: usize) {
        self.offset += len as u32;
        if self.offset > REBASE {
            let drop = self.offset - 1;
            self.places.iter_mut().for_each(|place| *place = place.saturating_sub(drop));
            self.offset = 1;
        }
    }

    /// The next place from `start` on whose four bytes were seen before, and how
    /// far back.
    #[inline(always)]
    fn seek(&mut self, bytes: &Bytes, start: usize, edge: usize) -> Option<(usize, usize)> {
        let mut index = start;
        // Every 32 looks without success the steps grow by one byte, so that data
        // that cannot be compressed is soon behind.
        let mut looks = 32;
        loop {
            let step = looks >> 5;
            if index + step > edge {
                return None;
            }
            if let Some(distance) = self.swap(bytes, index) {
                return Some((index, distance));
            }
            looks += step;
            index += step;
        }
    }

    /// Takes the match at `index`, and all that follow right after one another;
    /// gives the place after the last.
    #[inline(always)]
    fn follow(&mut self, bytes: &Bytes, index: usize, distance: usize, end: usize) -> usize {
        let (mut index, mut distance) = (index, distance);
        loop {
            let limit = MAX_MATCH.min(end - index) - WORD;
            let more = common(bytes, index + WORD - distance, index + WORD, limit);
            let found = Match { length: WORD + more, distance };
            self.tokens.push(Token::pair(found));
            index += found.length;
            if index >= end - MARGIN {
                return index;
            }
            self.swap(bytes, index - 1);
            match self.swap(bytes, index) {
                Some(next) => distance = next,
                None => return index,
            }
        }
    }

    /// Remembers `index`; gives the distance to the place it takes the memory of, if
    /// that is in reach and begins with the same four bytes.
    #[inline(always)]
    fn swap(&mut self, bytes: &Bytes, index: usize) -> Option<usize> {
        let word = load32(bytes, index);
        let hash = word.wrapping_mul(MULTIPLIER) >> (32 - HASH_BITS);
        let stamp = index as u32 + self.offset;
        let before = std::mem::replace(&mut self.places[hash as usize], stamp);
        let distance = stamp.wrapping_sub(before) as usize;
        (distance <= MAX_DISTANCE && load32(bytes, index - distance) == word).then_some(distance)
    }

    fn literals(&mut self, bytes: &[u8]) {
        self.tokens.extend(bytes.iter().copied().map(Token::literal));
    }
}
