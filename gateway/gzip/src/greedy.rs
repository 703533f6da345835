//! In: the bytes in the window. Out: tokens, each match taken as soon as found.

use crate::chains::{Gatherer, Pick};
use crate::level::Search;
use crate::matches::{NO_MATCH, SHORTEST};
use crate::token::Token;

/// Levels 2 and 3.
pub(crate) struct Greedy {
    pub search: Search,
    /// Matches longer than this leave their inside out of the chains.
    pub insert_up_to: usize,
}

impl Pick for Greedy {
    /// Makes one token and gives the place after it.
    #[inline(always)]
    fn step(&mut self, state: &mut Gatherer, index: usize, end: usize) -> usize {
        let bytes = state.window.bytes();
        let ahead = end - index;
        let mut found = NO_MATCH;
        if ahead >= SHORTEST {
            let distance = state.chains.insert(bytes, index);
            let around = (distance, ahead, NO_MATCH.length);
            found = state.chains.longest(bytes, index, around, self.search);
        }
        if found == NO_MATCH {
            state.tokens.push(Token::literal(bytes[index]));
            return index + 1;
        }
        let next = index + found.length;
        if found.length <= self.insert_up_to {
            state.chains.insert_all(bytes, index + 1..next, end);
        }
        state.tokens.push(Token::pair(found));
        next
    }

    fn owes(&self) -> bool {
        false
    }
}
