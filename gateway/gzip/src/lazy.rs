//! In: the bytes in the window. Out: tokens, where a match is taken only if there
//! is no longer one a byte further on.

use crate::chains::{Gatherer, Pick};
use crate::level::Search;
use crate::matches::{NO_MATCH, SHORTEST};
use crate::token::{Match, Token};

/// Levels 4 to 9.
pub(crate) struct Lazy {
    search: Search,
    good_enough: usize,
    /// What was found for the byte before.
    held: Match,
    /// Whether the byte before still needs a token.
    owed: bool,
}

impl Lazy {
    pub(crate) fn new(search: Search, good_enough: usize) -> Self {
        Self { search, good_enough, held: NO_MATCH, owed: false }
    }
}

impl Pick for Lazy {
    /// Decides about the byte before and gives the next place to look at.
    #[inline(always)]
    fn step(&mut self, state: &mut Gatherer, index: usize, end: usize) -> usize {
        let bytes = state.window.bytes();
        let ahead = end - index;
        let held = std::mem::replace(&mut self.held, NO_MATCH);
        let mut found = NO_MATCH;
        if ahead >= SHORTEST {
            let distance = state.chains.insert(bytes, index);
            if held.length < self.good_enough && ahead > held.length {
                // Go looks for any match here and drops it if it is not longer than
                // the one held. Only a longer one is worth looking for.
                let around = (distance, ahead, held.length);
                found = state.chains.longest(bytes, index, around, self.search);
            }
        }
        if held.length >= SHORTEST && found.length <= held.length {
            let next = index + held.length - 1;
            state.chains.insert_all(bytes, index + 1..next, end);
            state.tokens.push(Token::pair(held));
            self.owed = false;
            return next;
        }
        if self.owed {
            state.tokens.push(Token::literal(bytes[index - 1]));
        }
        self.owed = true;
        self.held = found;
        index + 1
    }

    fn owes(&self) -> bool {
        self.owed
    }
}
