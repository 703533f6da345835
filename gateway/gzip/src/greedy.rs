//! In: the bytes in the window. Out: tokens, each match taken as soon as found.

use std::io::{self, Write};

use crate::block::BlockWriter;
use crate::chains::Gatherer;
use crate::level::Search;
use crate::matches::{NO_MATCH, SHORTEST};
use crate::token::Token;
use crate::window::LOOKAHEAD;

/// Levels 2 and 3.
pub(crate) struct Greedy {
    pub search: Search,
    /// Matches longer than this leave their inside out of the chains.
    pub insert_up_to: usize,
}

impl Greedy {
    /// Makes tokens until too little is left to look at, or with `last` until
    /// nothing is left.
    pub(crate) fn scan<W: Write>(
        &self,
        state: &mut Gatherer,
        last: bool,
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        let end = state.window.end();
        let stop = if last { end } else { (end + 1).saturating_sub(LOOKAHEAD) };
        let mut index = state.window.index;
        while index < stop {
            index = self.step(state, index, end);
            if state.is_full() {
                state.write(index, out)?;
            }
        }
        state.window.index = index;
        Ok(())
    }

    /// Makes one token and gives the place after it.
    #[inline(always)]
    fn step(&self, state: &mut Gatherer, index: usize, end: usize) -> usize {
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
}
