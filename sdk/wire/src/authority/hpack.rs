//! Header blocks (HPACK, RFC 7541): read with the table of the connection, written without one.
//!
//! Whoever writes decides what a reader has to remember. What is written here asks for nothing, so
//! that it can be put in the place of any block without the reader knowing the writer's table.

use std::collections::VecDeque;

use super::huffman;

/// The table a writer may use unless it was told otherwise, in bytes as the specification counts.
const TABLE_LIMIT: usize = 4096;
/// What an entry counts beyond its text.
const ENTRY_OVERHEAD: usize = 32;
/// The most a block may mean, counted in the same way: small blocks can mean much.
const LIST_LIMIT: usize = 4 << 20;

/// Why a block cannot be read. The connection cannot be used any longer, because its table is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It does not follow the grammar.
    #[error("the header block is malformed")]
    Malformed,
    /// It means more than anybody sends.
    #[error("the header block holds more than {LIST_LIMIT} bytes")]
    TooLarge,
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// It must never be put into a table, because it is a secret.
    pub(super) never_indexed: bool,
}

impl Field {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// The reader of one connection's blocks.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first.
    table: VecDeque<Field>,
    size: usize,
    capacity: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, capacity: TABLE_LIMIT }
    }
}

impl Decoder {
    /// Reads a whole block.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, BlockError> {
        let mut rest = Reader { rest: block };
        let (mut fields, mut size) = (Vec::new(), 0);
        while let Some(first) = rest.rest.first().copied() {
            let field = match first {
                0x80.. => self.entry(rest.integer(7)?)?,
                0x40.. => {
                    let field = self.literal(&mut rest, 6)?;
                    self.insert(field.clone());
                    field
                }
                // Only in front of the first field.
                0x20.. if fields.is_empty() => {
                    self.resize(rest.integer(5)?)?;
                    continue;
                }
                0x20.. => return Err(BlockError::Malformed),
                _ => {
                    let never_indexed = first & 0x10 != 0;
                    Field { never_indexed, ..self.literal(&mut rest, 4)? }
                }
            };
            size += field.size();
            if size > LIST_LIMIT {
                return Err(BlockError::TooLarge);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, from: &mut Reader<'_>, prefix: u8) -> Result<Field, BlockError> {
        let name = match from.integer(prefix)? {
            0 => from.string()?,
            index => self.entry(index)?.name,
        };
        Ok(Field { name, value: from.string()?, never_indexed: false })
    }

    fn entry(&self, index: usize) -> Result<Field, BlockError> {
        let index = index.checked_sub(1).ok_or(BlockError::Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            let (name, value) = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
            return Ok(Field { name, value, never_indexed: false });
        }
        self.table.get(index - STATIC.len()).cloned().ok_or(BlockError::Malformed)
    }

    fn insert(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.capacity.saturating_sub(size));
        if size <= self.capacity {
            self.size += size;
            self.table.push_front(field);
        }
    }

    fn resize(&mut self, capacity: usize) -> Result<(), BlockError> {
        if capacity > TABLE_LIMIT {
            return Err(BlockError::Malformed);
        }
        self.capacity = capacity;
        self.shrink(capacity);
        Ok(())
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

/// Writes a block of literals.
pub(super) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::with_capacity(fields.iter().map(Field::size).sum());
    for field in fields {
        block.push(if field.never_indexed { 0x10 } else { 0 });
        for text in [&field.name, &field.value] {
            put_integer(&mut block, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// Writes an integer behind an empty prefix.
fn put_integer(block: &mut Vec<u8>, prefix: u8, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return block.push(value as u8);
    }
    block.push(most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// What of a block was not read yet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, BlockError> {
        let (first, rest) = self.rest.split_first().ok_or(BlockError::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An integer whose first byte has a prefix of so many bits.
    fn integer(&mut self, prefix: u8) -> Result<usize, BlockError> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        // Four more bytes are enough for everything that fits into a block.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BlockError::Malformed)
    }

    fn string(&mut self) -> Result<Vec<u8>, BlockError> {
        let encoded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(BlockError::Malformed)?;
        self.rest = rest;
        if encoded {
            huffman::decode(text, LIST_LIMIT).ok_or(BlockError::Malformed)
        } else {
            Ok(text.to_vec())
        }
    }
}

/// Entries that every connection has (RFC 7541, appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[Field]) -> Vec<String> {
        let text = String::from_utf8_lossy;
        fields
            .iter()
            .map(|field| format!("{}: {}", text(&field.name), text(&field.value)))
            .collect()
    }

    #[test]
    fn the_requests_of_the_specification_are_read_in_turn() {
        // RFC 7541, C.4: three requests on one connection, with Huffman code.
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let read = [&first[..], second, third].map(|block| shown(&decoder.decode(block).unwrap()));
        assert_eq!(read[0][3], ":authority: www.example.com");
        assert_eq!(read[1][3..], [":authority: www.example.com", "cache-control: no-cache"]);
        assert_eq!(read[2][3..], [":authority: www.example.com", "custom-key: custom-value"]);
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn old_entries_make_way_for_new_ones() {
        let mut decoder = Decoder::default();
        decoder.decode(b"\x3f\x2d").unwrap();
        assert_eq!(decoder.capacity, 76);
        decoder.decode(b"\x40\x01a\x01b\x40\x01c\x01d").unwrap();
        assert_eq!(shown(&decoder.decode(b"\xbe\xbf").unwrap()), ["c: d", "a: b"]);
        decoder.decode(b"\x40\x01e\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
        assert_eq!(decoder.decode(b"\xbf"), Err(BlockError::Malformed));
        decoder.decode(b"\x20").unwrap();
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    }

    #[test]
    fn what_is_written_is_read_by_anybody() {
        let long = vec![b'x'; 70_000];
        let field = |name: &str, value: &[u8], never_indexed| Field {
            name: name.into(),
            value: value.into(),
            never_indexed,
        };
        let fields =
            [field(":path", b"/", false), field("secret", &long, true), field("", b"", false)];
        assert_eq!(Decoder::default().decode(&encode(&fields)), Ok(fields.to_vec()));
    }

    #[test]
    fn nonsense_is_refused() {
        for block in [
            &b"\x80"[..],
            b"\xff\xff\xff\xff\xff\x0f",
            b"\x82\x20",
            b"\x3f\xff\x3f",
            b"\x00\x05ab",
            b"\xbe",
        ] {
            assert_eq!(Decoder::default().decode(block), Err(BlockError::Malformed), "{block:x?}");
        }
    }

    #[test]
    fn a_small_block_may_not_mean_much() {
        let mut block = vec![0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
        block.extend_from_slice(&[b'x'; 4000]);
        block.extend_from_slice(&[0xbe; 2000]);
        assert_eq!(Decoder::default().decode(&block).err(), Some(BlockError::TooLarge));
    }
}
