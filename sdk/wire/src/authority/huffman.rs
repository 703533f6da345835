//! The Huffman code of header strings (RFC 7541, appendix B).
//!
//! The code is canonical: the lengths of the codes, in the order of the symbols, define all of it.

/// How many bits the code of each byte has.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];

/// The longest code, in bits.
const LONGEST: usize = 30;

/// All codes of one length: the first of them, and the symbols in order.
#[derive(Clone, Copy, Default)]
struct Row {
    first: u32,
    begin: u16,
    count: u16,
}

/// The code as it is read: one row per length, and the symbols sorted by length and value.
struct Code {
    rows: [Row; LONGEST + 1],
    symbols: [u8; 256],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let (mut rows, mut symbols) =
            ([Row { first: 0, begin: 0, count: 0 }; LONGEST + 1], [0; 256]);
        let (mut length, mut next, mut at) = (1, 0, 0);
        while length <= LONGEST {
            next <<= 1;
            rows[length].first = next;
            rows[length].begin = at;
            let mut symbol = 0;
            while symbol < 256 {
                if LENGTHS[symbol] as usize == length {
                    symbols[at as usize] = symbol as u8;
                    (next, at) = (next + 1, at + 1);
                }
                symbol += 1;
            }
            rows[length].count = at - rows[length].begin;
            length += 1;
        }
        Self { rows, symbols }
    }

    fn symbol(&self, length: usize, bits: u32) -> Option<u8> {
        let row = self.rows[length];
        let offset = bits.checked_sub(row.first).filter(|offset| *offset < u32::from(row.count))?;
        self.symbols.get(usize::from(row.begin) + offset as usize).copied()
    }
}

/// Decodes a string; `None` if it is not encoded as it has to be, or longer than `limit`.
pub(super) fn decode(encoded: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity((encoded.len() * 2).min(limit));
    let (mut bits, mut length) = (0_u32, 0);
    for byte in encoded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if let Some(symbol) = CODE.symbol(length, bits) {
                if text.len() == limit {
                    return None;
                }
                text.push(symbol);
                (bits, length) = (0, 0);
            } else if length == LONGEST {
                return None;
            }
        }
    }
    // What is left is the beginning of the end-of-string code, all ones and less than a byte.
    let padded = length < 8 && bits == (1 << length) - 1;
    padded.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_decode() {
        for (encoded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("", ""),
        ] {
            assert_eq!(decode(&unhex(encoded), 100).as_deref(), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn padding_that_is_too_long_or_not_of_ones_is_refused() {
        assert_eq!(decode(&[0xff], 100), None);
        assert_eq!(decode(&[0x00], 100), None);
        assert_eq!(decode(&[0xff; 8], 100), None);
        assert_eq!(decode(&unhex("a8eb10649cbf"), 7), None);
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }
}
