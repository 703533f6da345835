//! In: the tokens of a block, or its bytes. Out: the block in the form Go picks,
//! written to the stream.

use std::io::{self, Write};

use crate::bits::{BitWriter, Bits};
use crate::huffman::Code;
use crate::lengths::LONGEST;
use crate::preamble::Preamble;
use crate::token::{
    DISTANCE_EXTRA, DISTANCES, END_OF_BLOCK, FIRST_LENGTH, LENGTH_EXTRA, LENGTH_SYMBOLS, LITERALS,
    NO_DISTANCE, Token,
};

/// The most bytes a stored block holds.
pub(crate) const MOST_STORED: usize = 65535;

/// Bits that say what kind a block is; none is ever the last but the empty one
/// that [`BlockWriter::end`] writes.
const STORED: u64 = 0b000;
const STORED_LAST: u64 = 0b001;
const FIXED: u64 = 0b010;
const DYNAMIC: u64 = 0b100;
const KIND_BITS: u32 = 3;

const FIXED_LITERALS: [u8; LITERALS] = fixed_literals();
const FIXED_DISTANCES: [u8; DISTANCES] = [5; DISTANCES];

/// Writes blocks to the inner writer.
pub(crate) struct BlockWriter<W> {
    bits: BitWriter<W>,
}

impl<W: Write> BlockWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { bits: BitWriter::new(inner) }
    }

    /// The shortest form: fixed or dynamic codes, or the bytes themselves if
    /// `raw`, what the tokens stand for, is at hand and fits in one block.
    pub(crate) fn shortest(&mut self, tokens: &[Token], raw: Option<&[u8]>) -> io::Result<()> {
        let counts = Counts::of(tokens);
        let fixed = Codes::fixed();
        let (dynamic, preamble) = Codes::dynamic(&counts);
        let fixed_cost = fixed.cost(&counts);
        let dynamic_cost = preamble.cost() + dynamic.cost(&counts);
        let coded_cost = KIND_BITS as usize + fixed_cost.min(dynamic_cost) + counts.extra_bits();
        if let Some(raw) = raw.filter(|raw| stored_cost(raw).is_some_and(|cost| cost < coded_cost))
        {
            self.stored(raw)
        } else if dynamic_cost < fixed_cost {
            self.preamble(&preamble)?;
            self.tokens(tokens, &dynamic)
        } else {
            self.bits.put(FIXED, KIND_BITS)?;
            self.tokens(tokens, &fixed)
        }
    }

    /// Dynamic codes, or the bytes themselves if that saves less than a sixteenth.
    pub(crate) fn dynamic_or_stored(&mut self, tokens: &[Token], raw: &[u8]) -> io::Result<()> {
        let counts = Counts::of(tokens);
        let (codes, preamble) = Codes::dynamic(&counts);
        // Go leaves the extra bits of lengths and distances out of this account.
        if hardly_saves(raw, preamble.cost() + codes.cost(&counts)) {
            return self.stored(raw);
        }
        self.preamble(&preamble)?;
        self.tokens(tokens, &codes)
    }

    /// Dynamic codes over single bytes, or the bytes themselves if that saves less
    /// than a sixteenth.
    pub(crate) fn literals(&mut self, raw: &[u8]) -> io::Result<()> {
        let counts = Counts::of_bytes(raw);
        let (codes, preamble) = Codes::dynamic(&counts);
        if hardly_saves(raw, preamble.cost() + codes.cost(&counts)) {
            return self.stored(raw);
        }
        self.preamble(&preamble)?;
        let words: [Bits; 256] = std::array::from_fn(|byte| codes.literals.word(byte));
        let word = |byte: &u8| words[usize::from(*byte)];
        // Three words are 45 bits at most.
        let (threes, rest) = raw.as_chunks::<3>();
        self.bits.put_all(threes.iter().map(|[a, b, c]| word(a).then(word(b)).then(word(c))))?;
        self.bits.put_all(rest.iter().map(word))?;
        self.end_of_block(&codes)
    }

    /// The bytes themselves, [`MOST_STORED`] at most.
    pub(crate) fn stored(&mut self, raw: &[u8]) -> io::Result<()> {
        self.stored_header(STORED, raw.len())?;
        self.bits.bytes(raw)
    }

    /// Ends the stream as Go does, with an empty stored block, and leaves it
    /// aligned with nothing held back.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.stored_header(STORED_LAST, 0)?;
        self.bits.spill()
    }

    pub(crate) fn inner_mut(&mut self) -> &mut W {
        self.bits.inner_mut()
    }

    pub(crate) fn into_inner(self) -> W {
        self.bits.into_inner()
    }

    fn stored_header(&mut self, kind: u64, len: usize) -> io::Result<()> {
        self.bits.put(kind, KIND_BITS)?;
        self.bits.align()?;
        self.bits.put(len as u64, 16)?;
        self.bits.put(!len as u64 & 0xffff, 16)
    }

    fn preamble(&mut self, preamble: &Preamble) -> io::Result<()> {
        self.bits.put(DYNAMIC, KIND_BITS)?;
        preamble.write(&mut self.bits)
    }

    fn tokens(&mut self, tokens: &[Token], codes: &Codes) -> io::Result<()> {
        let heads = codes.heads();
        let distances = codes.distances_and_extra();
        self.bits.put_all(tokens.iter().map(|token| {
            let (word, extra) = distances[token.distance_symbol() & 31];
            let extra_value = token.distance_value() & ((1 << extra) - 1);
            let extra = Bits::new(u64::from(extra_value), extra);
            // 15 and 5 bits for the length, 15 and 13 for the distance: 48 at most.
            heads[token.head()].then(word).then(extra)
        }))?;
        self.end_of_block(codes)
    }

    fn end_of_block(&mut self, codes: &Codes) -> io::Result<()> {
        let Bits { value, count } = codes.literals.word(END_OF_BLOCK);
        self.bits.put(value, count)
    }
}

/// What a stored block of these bytes costs, if they fit in one. Up to seven bits
/// of alignment are not counted, just as Go does not count them.
fn stored_cost(raw: &[u8]) -> Option<usize> {
    (raw.len() <= MOST_STORED).then_some((raw.len() + 5) * 8)
}

/// Whether coding `raw` in this many bits, and three for the kind, is not worth it.
fn hardly_saves(raw: &[u8], cost: usize) -> bool {
    let cost = KIND_BITS as usize + cost;
    stored_cost(raw).is_some_and(|stored| stored < cost + (cost >> 4))
}

/// How often each symbol occurs in a block.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Counts {
    fn of(tokens: &[Token]) -> Self {
        let mut heads = [0u32; 512];
        let mut distances = [0u32; 32];
        for token in tokens {
            heads[token.head()] += 1;
            distances[token.distance_symbol() & 31] += 1;
        }
        let (bytes, lengths) = heads.split_at(256);
        let mut counts = Self::of_histogram(bytes);
        for (&(symbol, _), count) in LENGTH_SYMBOLS.iter().zip(lengths) {
            counts.literals[FIRST_LENGTH + usize::from(symbol)] += count;
        }
        // Without a match Go still counts one distance, so that the code for them
        // is not empty.
        if distances[..DISTANCES].iter().any(|&count| count != 0) {
            counts.distances.copy_from_slice(&distances[..DISTANCES]);
        }
        counts
    }

    fn of_bytes(raw: &[u8]) -> Self {
        // Two tables, since runs of a byte would wait for their own last count.
        let (mut even, mut odd) = ([0u32; 256], [0u32; 256]);
        let (pairs, rest) = raw.as_chunks::<2>();
        for &[a, b] in pairs {
            even[usize::from(a)] += 1;
            odd[usize::from(b)] += 1;
        }
        for &byte in rest {
            even[usize::from(byte)] += 1;
        }
        even.iter_mut().zip(odd).for_each(|(sum, count)| *sum += count);
        Self::of_histogram(&even)
    }

    fn of_histogram(bytes: &[u32]) -> Self {
        let mut counts = Self { literals: [0; LITERALS], distances: [0; DISTANCES] };
        counts.literals.iter_mut().zip(bytes).for_each(|(slot, count)| *slot = *count);
        counts.literals[END_OF_BLOCK] = 1;
        counts.distances[0] = 1;
        counts
    }

    /// How many bits the values of lengths and distances take next to their words.
    fn extra_bits(&self) -> usize {
        let lengths = self.literals[FIRST_LENGTH..].iter().zip(LENGTH_EXTRA);
        let distances = self.distances.iter().zip(DISTANCE_EXTRA);
        lengths.chain(distances).map(|(&count, extra)| count as usize * usize::from(extra)).sum()
    }
}

/// The codes of the two alphabets of a block.
struct Codes {
    literals: Code<LITERALS>,
    distances: Code<DISTANCES>,
}

impl Codes {
    fn fixed() -> Self {
        Self {
            literals: Code::canonical(FIXED_LITERALS),
            distances: Code::canonical(FIXED_DISTANCES),
        }
    }

    /// The best codes for these counts, and what must come before the tokens.
    fn dynamic(counts: &Counts) -> (Self, Preamble) {
        let literals = Code::best(&counts.literals, LONGEST);
        let distances = Code::best(&counts.distances, LONGEST);
        let preamble = Preamble::new(used(literals.lengths()), used(distances.lengths()));
        (Self { literals, distances }, preamble)
    }

    /// How many bits the words take, extra bits not counted.
    fn cost(&self, counts: &Counts) -> usize {
        self.literals.cost(&counts.literals) + self.distances.cost(&counts.distances)
    }

    /// What to write for each [`Token::head`]: for a length the extra bits too.
    fn heads(&self) -> [Bits; 512] {
        std::array::from_fn(|head| match head.checked_sub(256) {
            None => self.literals.word(head),
            Some(length) => {
                let (symbol, extra) = LENGTH_SYMBOLS[length];
                let symbol = usize::from(symbol);
                let extra_bits = u32::from(LENGTH_EXTRA[symbol]);
                let word = self.literals.word(FIRST_LENGTH + symbol);
                word.then(Bits::new(u64::from(extra), extra_bits))
            }
        })
    }

    /// For each [`Token::distance_symbol`] its word and how many extra bits follow;
    /// nothing for [`NO_DISTANCE`].
    fn distances_and_extra(&self) -> [(Bits, u32); 32] {
        std::array::from_fn(|symbol| {
            if symbol >= NO_DISTANCE {
                return (Bits::default(), 0);
            }
            (self.distances.word(symbol), u32::from(DISTANCE_EXTRA[symbol]))
        })
    }
}

/// The lengths up to the last symbol that has a code.
fn used(lengths: &[u8]) -> &[u8] {
    let end = lengths.iter().rposition(|&length| length != 0).map_or(0, |last| last + 1);
    &lengths[..end]
}

const fn fixed_literals() -> [u8; LITERALS] {
    let mut lengths = [8; LITERALS];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    lengths
}
