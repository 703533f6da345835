//! In: the lengths of the codes of an alphabet. Out: the canonical code of
//! RFC 1951, ready to be written, and what counts of symbols cost in it.

use crate::bits::Bits;
use crate::lengths::{LONGEST, code_lengths};

/// A prefix code over `N` symbols.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code<const N: usize> {
    lengths: [u8; N],
    words: [u16; N],
}

impl<const N: usize> Code<N> {
    /// The best code for these counts with words of at most `limit` bits.
    pub(crate) fn best(counts: &[u32; N], limit: usize) -> Self {
        Self::canonical(code_lengths(counts, limit))
    }

    /// Words of the same length follow each other in the order of the symbols;
    /// their bits are turned round, since the format writes a word from its top.
    pub(crate) fn canonical(lengths: [u8; N]) -> Self {
        let mut next = first_words(&lengths);
        let words = lengths.map(|length| {
            let place = &mut next[usize::from(length) & LONGEST];
            let word = *place;
            *place = place.wrapping_add(1);
            if length == 0 { 0 } else { word.reverse_bits() >> (16 - u32::from(length)) }
        });
        Self { lengths, words }
    }

    pub(crate) fn lengths(&self) -> &[u8; N] {
        &self.lengths
    }

    pub(crate) fn word(&self, symbol: usize) -> Bits {
        Bits::new(u64::from(self.words[symbol]), u32::from(self.lengths[symbol]))
    }

    /// How many bits all these symbols take.
    pub(crate) fn cost(&self, counts: &[u32; N]) -> usize {
        let costs = counts.iter().zip(&self.lengths);
        costs.map(|(&count, &length)| count as usize * usize::from(length)).sum()
    }
}

/// The first word of each length.
fn first_words(lengths: &[u8]) -> [u16; LONGEST + 1] {
    let mut symbols = [0u16; LONGEST + 1];
    for &length in lengths {
        symbols[usize::from(length) & LONGEST] += 1;
    }
    // Symbols without a code take no words.
    symbols[0] = 0;
    let mut first = [0u16; LONGEST + 1];
    for length in 1..=LONGEST {
        first[length] = first[length - 1].wrapping_add(symbols[length - 1]) << 1;
    }
    first
}
