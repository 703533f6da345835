//! In: the bytes of the stream, as they are written. Out: up to 64 KiB of them in
//! one place, of which the older half is dropped when the younger is used up.

use crate::memory::{SLACK, fill, zeroed};
use crate::token::{MAX_DISTANCE, MAX_MATCH};

pub(crate) const SIZE: usize = 2 * MAX_DISTANCE;

/// The searches stop when fewer bytes than this are left to look at and more may
/// come: then the longest match, and the four bytes of the hash of the place after
/// it, are always at hand, and no choice depends on where a write ended.
pub(crate) const LOOKAHEAD: usize = MAX_MATCH + 4;

/// The bytes at hand.
pub(crate) type Bytes = [u8; SIZE + SLACK];

pub(crate) struct Window {
    bytes: Box<Bytes>,
    end: usize,
    /// The next byte to find a match for.
    pub index: usize,
    /// Where the block being gathered begins; none once those bytes are dropped.
    block_start: Option<usize>,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { bytes: zeroed(), end: 0, index: 0, block_start: Some(0) }
    }

    /// Whether the younger half is used up. The output depends on this being asked
    /// exactly where Go asks, after each search and before more bytes are taken.
    pub(crate) fn is_used_up(&self) -> bool {
        self.index >= SIZE - LOOKAHEAD
    }

    /// Drops the older half.
    pub(crate) fn slide(&mut self) {
        self.bytes.copy_within(MAX_DISTANCE..SIZE, 0);
        self.index -= MAX_DISTANCE;
        self.end -= MAX_DISTANCE;
        self.block_start = self.block_start.and_then(|start| start.checked_sub(MAX_DISTANCE));
    }

    /// Takes as much of the input as there is room for and says how much.
    pub(crate) fn take(&mut self, input: &[u8]) -> usize {
        let taken = fill(&mut self.bytes[self.end..SIZE], input);
        self.end += taken;
        taken
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Ends the block at `end` and gives its bytes, if all are still there.
    pub(crate) fn cut(&mut self, end: usize) -> Option<&[u8]> {
        let start = self.block_start.replace(end)?;
        self.bytes.get(start..end)
    }
}
