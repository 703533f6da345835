//! Bytes as text between two lines of dashes, as OpenPGP and OpenSSH write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How many blocks one text may have.
const MOST_BLOCKS: usize = 64;

/// A block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What is said to be in it, such as `PGP SIGNATURE`.
    pub(crate) label: String,
    pub(crate) bytes: Vec<u8>,
}

/// All blocks of a text. What is between them is not looked at.
pub(crate) fn blocks(text: &[u8]) -> Result<Vec<Block>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let mut lines = text.lines().map(str::trim_end);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = between(line, "-----BEGIN ") else { continue };
        if blocks.len() == MOST_BLOCKS {
            return Err(format!("there are more than {MOST_BLOCKS} blocks"));
        }
        let (mut body, mut sum, mut is_complete) = (String::new(), None, false);
        for line in lines.by_ref() {
            if let Some(end) = between(line, "-----END ") {
                is_complete = end == label;
                break;
            }
            match line.strip_prefix('=').filter(|sum| sum.len() == 4) {
                Some(text) => sum = Some(text),
                // A colon is in no line but those that say how it was made.
                None if !line.contains(':') => body.push_str(line),
                None => {}
            }
        }
        if !is_complete {
            return Err(format!("the end of {label:?} is missing"));
        }
        let broken = |_| format!("{label:?} is not base64");
        let bytes = STANDARD.decode(body).map_err(broken)?;
        let sum = sum.map(|sum| STANDARD.decode(sum).map_err(broken)).transpose()?;
        if sum.is_some_and(|sum| sum != crc24(&bytes).to_be_bytes()[1..]) {
            return Err(format!("the checksum of {label:?} does not fit"));
        }
        blocks.push(Block { label: label.to_owned(), bytes });
    }
    Ok(blocks)
}

fn between<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    line.strip_prefix(before)?.strip_suffix("-----")
}

/// The checksum of RFC 4880, 6.1.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x00b7_04ce;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    crc & 0x00ff_ffff
}
