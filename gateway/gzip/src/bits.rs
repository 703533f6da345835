//! In: strings of bits and whole bytes, in the order of the stream. Out: the bytes
//! they make, handed to the inner writer in large pieces.

use std::io::{self, Write};
use std::iter;

use crate::memory::{SLACK, zeroed};

const BUFFER: usize = 32 * 1024;

/// Up to this many bits can be put at once.
pub(crate) const MOST_BITS: u32 = 48;

/// Some bits, the lowest first in the stream; none above `count` are set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bits {
    pub value: u64,
    pub count: u32,
}

impl Bits {
    pub(crate) const fn new(value: u64, count: u32) -> Self {
        Self { value, count }
    }

    /// These bits, then those of `next`.
    #[inline(always)]
    pub(crate) const fn then(self, next: Self) -> Self {
        Self { value: self.value | next.value << self.count, count: self.count + next.count }
    }
}

/// Packs bits into bytes, as RFC 1951 does: from the lowest bit of a byte upwards.
pub(crate) struct BitWriter<W> {
    inner: W,
    buffer: Box<[u8; BUFFER + SLACK]>,
    used: usize,
    /// Fewer than eight bits that do not yet make a byte.
    rest: Bits,
}

impl<W: Write> BitWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, buffer: zeroed(), used: 0, rest: Bits::default() }
    }

    pub(crate) fn put(&mut self, value: u64, count: u32) -> io::Result<()> {
        self.put_all(iter::once(Bits::new(value, count)))
    }

    /// Puts many strings of at most [`MOST_BITS`] bits each.
    #[inline(always)]
    pub(crate) fn put_all(&mut self, strings: impl Iterator<Item = Bits>) -> io::Result<()> {
        // Locals, since the optimizer cannot see that the buffer does not overlap
        // the fields.
        let (mut rest, mut used) = (self.rest, self.used);
        for bits in strings {
            debug_assert!(bits.count <= MOST_BITS && bits.value >> bits.count == 0);
            rest = rest.then(bits);
            if used > BUFFER - SLACK {
                self.inner.write_all(&self.buffer[..used])?;
                used = 0;
            }
            // All eight bytes: the ones that are not full are written again.
            self.buffer[used..used + 8].copy_from_slice(&rest.value.to_le_bytes());
            used += (rest.count / 8) as usize;
            rest.value >>= rest.count & !7;
            rest.count &= 7;
        }
        (self.rest, self.used) = (rest, used);
        Ok(())
    }

    /// Fills the byte that is begun, if one is, with zeros.
    pub(crate) fn align(&mut self) -> io::Result<()> {
        self.put(0, self.rest.count.wrapping_neg() & 7)
    }

    /// Writes whole bytes; the stream must be aligned.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(self.rest.count, 0);
        self.spill()?;
        self.inner.write_all(bytes)
    }

    /// Hands all whole bytes to the inner writer.
    pub(crate) fn spill(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.buffer[..self.used])?;
        self.used = 0;
        Ok(())
    }

    pub(crate) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    pub(crate) fn into_inner(self) -> W {
        self.inner
    }
}
