//! In: literals and matches as the searches find them. Out: tokens of four bytes,
//! and where a token belongs in the two alphabets of RFC 1951.

/// The shortest match the format knows.
pub(crate) const MIN_MATCH: usize = 3;
/// The longest match the format knows.
pub(crate) const MAX_MATCH: usize = 258;
/// The farthest back a match can lie.
pub(crate) const MAX_DISTANCE: usize = 32 * 1024;

/// Symbols for bytes, for the end of a block and for lengths. The last two never
/// occur, but the words of the fixed code are counted as if they did.
pub(crate) const LITERALS: usize = 288;
/// Symbols for distances.
pub(crate) const DISTANCES: usize = 30;
/// The symbol that ends a block.
pub(crate) const END_OF_BLOCK: usize = 256;
/// The symbol of the first length.
pub(crate) const FIRST_LENGTH: usize = 257;
/// What [`Token::distance_symbol`] gives for a literal.
pub(crate) const NO_DISTANCE: usize = DISTANCES;

/// How many extra bits follow each length symbol, from [`FIRST_LENGTH`] on.
pub(crate) const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// How many extra bits follow each distance symbol.
pub(crate) const DISTANCE_EXTRA: [u8; DISTANCES] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// The length symbol, less [`FIRST_LENGTH`], and the value of its extra bits, by
/// length less [`MIN_MATCH`].
pub(crate) const LENGTH_SYMBOLS: [(u8, u8); 256] = length_symbols();

/// A literal, or a match: its distance in the high half (0 for a literal), the
/// byte or the length less [`MIN_MATCH`] in the low one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Token(u32);

impl Token {
    pub(crate) const fn literal(byte: u8) -> Self {
        Self(byte as u32)
    }

    pub(crate) const fn pair(found: Match) -> Self {
        Self((found.distance as u32) << 16 | (found.length - MIN_MATCH) as u32 & 0xff)
    }

    /// The byte for a literal, 256 and the length less [`MIN_MATCH`] for a match:
    /// one index, so that counting and writing need no branch.
    #[inline(always)]
    pub(crate) const fn head(self) -> usize {
        (self.0 & 0xff) as usize | if self.0 > 0xff { 0x100 } else { 0 }
    }

    /// The symbol of the distance, [`NO_DISTANCE`] for a literal.
    #[inline(always)]
    pub(crate) const fn distance_symbol(self) -> usize {
        let distance = (self.0 >> 16) as usize;
        // From 257 on there are seven extra bits or more, so 128 neighbours share
        // a symbol.
        let slot = if distance <= 256 { distance } else { 256 + ((distance - 1) >> 7) };
        DISTANCE_SYMBOLS[slot & 0x1ff] as usize
    }

    /// The distance counted from 0; its low bits are the extra bits.
    #[inline(always)]
    pub(crate) const fn distance_value(self) -> u32 {
        (self.0 >> 16).wrapping_sub(1)
    }
}

/// A stretch of bytes that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub length: usize,
    pub distance: usize,
}

const DISTANCE_SYMBOLS: [u8; 512] = distance_symbols();

const fn length_symbols() -> [(u8, u8); 256] {
    let mut table = [(0, 0); 256];
    let (mut symbol, mut at) = (0, 0);
    // The last symbol is an odd one out: it stands for 258 alone, whose place
    // among the lengths of the symbol before it stays empty.
    while symbol < 28 {
        let mut extra = 0;
        while extra < 1 << LENGTH_EXTRA[symbol] && at < 256 {
            table[at] = (symbol as u8, extra);
            at += 1;
            extra += 1;
        }
        symbol += 1;
    }
    table[255] = (28, 0);
    table
}

const fn distance_symbols() -> [u8; 512] {
    let mut table = [NO_DISTANCE as u8; 512];
    let (mut symbol, mut value) = (0, 0);
    while symbol < DISTANCES {
        let end = value + (1 << DISTANCE_EXTRA[symbol]);
        while value < end {
            let slot = if value < 256 { value + 1 } else { 256 + (value >> 7) };
            table[slot] = symbol as u8;
            value += if value < 256 { 1 } else { 128 };
        }
        symbol += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_symbols_of_the_rfc() {
        let mut base = 1;
        for (symbol, extra) in DISTANCE_EXTRA.iter().enumerate() {
            let last = base + (1 << extra) - 1;
            for distance in [base, last] {
                let token = Token::pair(Match { length: 3, distance });
                assert_eq!(token.distance_symbol(), symbol, "distance {distance}");
            }
            base = last + 1;
        }
        assert_eq!(base, MAX_DISTANCE + 1);
        assert_eq!(Token::literal(255).distance_symbol(), NO_DISTANCE);
    }

    #[test]
    fn lengths_have_the_symbols_of_the_rfc() {
        let at = |length: usize| LENGTH_SYMBOLS[length - MIN_MATCH];
        assert_eq!([at(3), at(10), at(11), at(12)], [(0, 0), (7, 0), (8, 0), (8, 1)]);
        assert_eq!([at(226), at(227), at(257), at(258)], [(26, 31), (27, 0), (27, 30), (28, 0)]);
    }
}
