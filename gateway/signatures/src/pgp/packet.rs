//! Packets of OpenPGP (RFC 4880, 4.2), one after the other.

use crate::cursor::Cursor;

/// What a packet is.
pub(crate) mod tag {
    pub(crate) const SIGNATURE: u8 = 2;
    pub(crate) const SECRET_KEY: u8 = 5;
    pub(crate) const PUBLIC_KEY: u8 = 6;
    pub(crate) const SECRET_SUBKEY: u8 = 7;
    pub(crate) const MARKER: u8 = 10;
    pub(crate) const TRUST: u8 = 12;
    pub(crate) const USER_ID: u8 = 13;
    pub(crate) const PUBLIC_SUBKEY: u8 = 14;
    pub(crate) const USER_ATTRIBUTE: u8 = 17;
    pub(crate) const PADDING: u8 = 21;
}

/// How many packets one block may have.
const MOST_PACKETS: usize = 4096;

/// A packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

/// All packets of a block.
pub(crate) fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, String> {
    let mut cursor = Cursor(bytes);
    let mut packets = Vec::new();
    while !cursor.is_empty() {
        if packets.len() == MOST_PACKETS {
            return Err(format!("there are more than {MOST_PACKETS} packets"));
        }
        packets.push(packet(&mut cursor).ok_or("a packet is cut, or of no known form")?);
    }
    Ok(packets)
}

fn packet<'a>(cursor: &mut Cursor<'a>) -> Option<Packet<'a>> {
    let first = cursor.u8()?;
    if first & 0x80 == 0 {
        return None;
    }
    let (tag, length) = match first & 0x40 {
        0 => {
            let length = match first & 3 {
                0 => u32::from(cursor.u8()?),
                1 => u32::from(cursor.u16()?),
                2 => cursor.u32()?,
                // Up to the end of the file: only for data.
                _ => return None,
            };
            (first >> 2 & 0x0f, length)
        }
        _ => {
            let length = match cursor.u8()? {
                short @ 0..=191 => u32::from(short),
                // In pieces: only for data.
                224..=254 => return None,
                long => length(long, cursor)?,
            };
            (first & 0x3f, length)
        }
    };
    Some(Packet { tag, body: cursor.take(usize::try_from(length).ok()?)? })
}

/// A length of two or five bytes, of which the first was read.
fn length(first: u8, cursor: &mut Cursor<'_>) -> Option<u32> {
    match first {
        255 => cursor.u32(),
        first => Some(((u32::from(first) - 192) << 8) + u32::from(cursor.u8()?) + 192),
    }
}

/// The parts of a signature that say something of it: each with its kind, and whether who does not know
/// the kind must not accept the signature.
pub(crate) fn subpackets(bytes: &[u8]) -> Option<Vec<(u8, bool, &[u8])>> {
    let mut cursor = Cursor(bytes);
    let mut found = Vec::new();
    while !cursor.is_empty() {
        let length = match cursor.u8()? {
            short @ 0..=191 => u32::from(short),
            long => length(long, &mut cursor)?,
        };
        let (kind, body) = cursor.take(usize::try_from(length).ok()?)?.split_first()?;
        found.push((kind & 0x7f, kind & 0x80 != 0, body));
    }
    Some(found)
}
