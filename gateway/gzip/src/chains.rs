//! In: the bytes of the stream, as they are written. Out: blocks of tokens found by
//! hash chains, at levels 2 to 9.

use std::io::{self, Write};

use crate::block::BlockWriter;
use crate::greedy::Greedy;
use crate::lazy::Lazy;
use crate::matches::Chains;
use crate::token::Token;
use crate::window::{LOOKAHEAD, Window};

/// A block ends when it has this many tokens.
const MOST_TOKENS: usize = 1 << 14;

/// What both ways of picking matches work on.
pub(crate) struct Gatherer {
    pub window: Window,
    pub chains: Chains,
    /// The tokens of the block being gathered.
    pub tokens: Vec<Token>,
}

impl Gatherer {
    fn new() -> Self {
        let tokens = Vec::with_capacity(MOST_TOKENS);
        Self { window: Window::new(), chains: Chains::new(), tokens }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tokens.len() >= MOST_TOKENS
    }

    /// Ends the block before `end` and writes it.
    pub(crate) fn write<W: Write>(
        &mut self,
        end: usize,
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        out.shortest(&self.tokens, self.window.cut(end))?;
        self.tokens.clear();
        Ok(())
    }
}

/// A way of picking among matches.
pub(crate) trait Pick {
    /// Decides about a place of the window, which ends at `end`, and gives the next one.
    fn step(&mut self, state: &mut Gatherer, index: usize, end: usize) -> usize;

    /// Whether the byte before the next place still needs a token.
    fn owes(&self) -> bool;
}

/// Makes tokens until too little is left to look at, or with `last` until
/// nothing is left.
fn scan<W: Write>(
    picker: &mut impl Pick,
    state: &mut Gatherer,
    last: bool,
    out: &mut BlockWriter<W>,
) -> io::Result<()> {
    let end = state.window.end();
    let stop = if last { end } else { (end + 1).saturating_sub(LOOKAHEAD) };
    let mut index = state.window.index;
    while index < stop {
        index = picker.step(state, index, end);
        if state.is_full() {
            // A literal owed is not yet among the tokens.
            state.write(index - usize::from(picker.owes()), out)?;
        }
    }
    state.window.index = index;
    if last && picker.owes() {
        state.tokens.push(Token::literal(state.window.bytes()[index - 1]));
    }
    Ok(())
}

/// How to pick among matches.
pub(crate) enum Picker {
    Greedy(Greedy),
    Lazy(Lazy),
}

/// Levels 2 to 9.
pub(crate) struct Chained {
    state: Gatherer,
    picker: Picker,
}

impl Chained {
    pub(crate) fn new(picker: Picker) -> Self {
        Self { state: Gatherer::new(), picker }
    }

    /// Takes one write. As in Go the search comes before the bytes are taken in,
    /// so it runs over those of the writes before.
    pub(crate) fn feed<W: Write>(
        &mut self,
        mut input: &[u8],
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        while !input.is_empty() {
            self.scan(false, out)?;
            if self.state.window.is_used_up() {
                self.state.window.slide();
                self.state.chains.slide();
            }
            let taken = self.state.window.take(input);
            input = &input[taken..];
        }
        Ok(())
    }

    /// Makes tokens of all that is left and writes the last of them.
    pub(crate) fn finish<W: Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        self.scan(true, out)?;
        if self.state.tokens.is_empty() {
            return Ok(());
        }
        self.state.write(self.state.window.end(), out)
    }

    fn scan<W: Write>(&mut self, last: bool, out: &mut BlockWriter<W>) -> io::Result<()> {
        match &mut self.picker {
            Picker::Greedy(greedy) => scan(greedy, &mut self.state, last, out),
            Picker::Lazy(lazy) => scan(lazy, &mut self.state, last, out),
        }
    }
}
