//! In: the code lengths of the two alphabets of a block. Out: the run-length coded
//! form of them that opens a dynamic block.

use std::io::{self, Write};

use crate::bits::{BitWriter, Bits};
use crate::huffman::Code;
use crate::token::{DISTANCES, FIRST_LENGTH, LITERALS};

const SYMBOLS: usize = 19;
const LONGEST: usize = 7;

const REPEAT: u8 = 16;
const FEW_ZEROS: u8 = 17;
const MANY_ZEROS: u8 = 18;

/// The order in which the format writes the lengths of this code's own words.
const ORDER: [usize; SYMBOLS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// One word of the run-length code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Run {
    symbol: u8,
    extra: u8,
}

impl Run {
    const fn extra_bits(self) -> u32 {
        match self.symbol {
            REPEAT => 2,
            FEW_ZEROS => 3,
            MANY_ZEROS => 7,
            _ => 0,
        }
    }
}

/// Everything between a dynamic block's type and its first token.
pub(crate) struct Preamble {
    literals: usize,
    distances: usize,
    runs: Runs,
    code: Code<SYMBOLS>,
    /// How many of [`ORDER`] are written.
    written: usize,
}

impl Preamble {
    /// `literals` and `distances` are the lengths up to the last used symbol: 257
    /// of the former and one of the latter at least.
    pub(crate) fn new(literals: &[u8], distances: &[u8]) -> Self {
        let runs = Runs::of(literals, distances);
        let code = Code::best(&runs.counts, LONGEST);
        let last = ORDER.iter().rposition(|&symbol| runs.counts[symbol] != 0);
        let written = last.map_or(0, |last| last + 1).max(4);
        Self { literals: literals.len(), distances: distances.len(), runs, code, written }
    }

    /// How many bits [`Preamble::write`] writes.
    pub(crate) fn cost(&self) -> usize {
        let extra: u32 = self.runs.iter().map(Run::extra_bits).sum();
        5 + 5 + 4 + 3 * self.written + self.code.cost(&self.runs.counts) + extra as usize
    }

    pub(crate) fn write<W: Write>(&self, out: &mut BitWriter<W>) -> io::Result<()> {
        out.put((self.literals - FIRST_LENGTH) as u64, 5)?;
        out.put((self.distances - 1) as u64, 5)?;
        out.put((self.written - 4) as u64, 4)?;
        let lengths = self.code.lengths();
        let order = ORDER.iter().take(self.written);
        out.put_all(order.map(|&symbol| Bits::new(u64::from(lengths[symbol]), 3)))?;
        out.put_all(self.runs.iter().map(|run| {
            let word = self.code.word(usize::from(run.symbol));
            word.then(Bits::new(u64::from(run.extra), run.extra_bits()))
        }))
    }
}

/// The words of the run-length code, and how often each symbol is among them.
struct Runs {
    words: [Run; LITERALS + DISTANCES],
    len: usize,
    counts: [u32; SYMBOLS],
}

impl Runs {
    /// A run may go on from one alphabet to the other.
    fn of(literals: &[u8], distances: &[u8]) -> Self {
        let mut runs =
            Self { words: [Run::default(); LITERALS + DISTANCES], len: 0, counts: [0; SYMBOLS] };
        let mut lengths = literals.iter().chain(distances).copied().peekable();
        while let Some(length) = lengths.next() {
            let mut times = 1;
            while lengths.next_if_eq(&length).is_some() {
                times += 1;
            }
            runs.repeat(length, times);
        }
        runs
    }

    fn iter(&self) -> impl Iterator<Item = Run> {
        self.words[..self.len].iter().copied()
    }

    fn push(&mut self, symbol: u8, extra: usize) {
        self.words[self.len] = Run { symbol, extra: extra as u8 };
        self.len += 1;
        self.counts[usize::from(symbol)] += 1;
    }

    fn repeat(&mut self, length: u8, times: usize) {
        let rest = if length == 0 { self.zeros(times) } else { self.same(length, times) };
        for _ in 0..rest {
            self.push(length, 0);
        }
    }

    fn zeros(&mut self, mut times: usize) -> usize {
        while times >= 11 {
            let run = times.min(138);
            self.push(MANY_ZEROS, run - 11);
            times -= run;
        }
        if times >= 3 {
            self.push(FEW_ZEROS, times - 3);
            times = 0;
        }
        times
    }

    fn same(&mut self, length: u8, mut times: usize) -> usize {
        self.push(length, 0);
        times -= 1;
        while times >= 3 {
            let run = times.min(6);
            self.push(REPEAT, run - 3);
            times -= run;
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cross_from_one_alphabet_to_the_other() {
        let runs = Runs::of(&[5, 5, 5], &[5, 5, 0, 0, 0, 0]);
        let words: Vec<_> = runs.iter().map(|run| (run.symbol, run.extra)).collect();
        assert_eq!(words, [(5, 0), (REPEAT, 1), (FEW_ZEROS, 1)]);
    }

    #[test]
    fn a_long_run_of_zeros_is_cut_at_138() {
        let runs = Runs::of(&[0; 151], &[1]);
        let words: Vec<_> = runs.iter().map(|run| (run.symbol, run.extra)).collect();
        assert_eq!(words, [(MANY_ZEROS, 127), (MANY_ZEROS, 2), (1, 0)]);
    }
}
