//! In: the bytes of the stream, as they are written. Out: one block for every 65535
//! of them, at levels -2, 0 and 1.

use std::io::{self, Write};

use crate::block::{BlockWriter, MOST_STORED};
use crate::fast::{Fast, SHORTEST_BLOCK};
use crate::memory::{SLACK, fill, zeroed};
use crate::token::MAX_DISTANCE;

/// How many bytes before the block are kept.
pub(crate) const HISTORY: usize = MAX_DISTANCE;

/// The history, and the block after it.
pub(crate) type Bytes = [u8; HISTORY + MOST_STORED + SLACK];

/// At level 1 a shorter rest of the stream is stored.
const SHORTEST_CODED: usize = 17;

/// What becomes of a block.
pub(crate) enum Coder {
    Stored,
    Huffman,
    Fast(Box<Fast>),
}

/// Levels -2, 0 and 1.
pub(crate) struct Slabs {
    bytes: Box<Bytes>,
    /// Where the gathered bytes of the block end; it begins at [`HISTORY`].
    end: usize,
    coder: Coder,
}

impl Slabs {
    pub(crate) fn new(coder: Coder) -> Self {
        Self { bytes: zeroed(), end: HISTORY, coder }
    }

    /// Takes one write.
    pub(crate) fn feed<W: Write>(
        &mut self,
        mut input: &[u8],
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        while !input.is_empty() {
            let taken = fill(&mut self.bytes[self.end..HISTORY + MOST_STORED], input);
            self.end += taken;
            input = &input[taken..];
            if self.end == HISTORY + MOST_STORED {
                self.code(out)?;
                self.advance();
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish<W: Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        if self.end == HISTORY { Ok(()) } else { self.code(out) }
    }

    fn code<W: Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        let raw = &self.bytes[HISTORY..self.end];
        match &mut self.coder {
            Coder::Stored => out.stored(raw),
            Coder::Huffman => out.literals(raw),
            Coder::Fast(_) if raw.len() < SHORTEST_CODED => out.stored(raw),
            Coder::Fast(_) if raw.len() < SHORTEST_BLOCK => out.literals(raw),
            Coder::Fast(fast) => {
                let tokens = fast.tokens(&self.bytes, self.end);
                // Where matches save hardly any tokens, their distances cost more
                // than they save.
                if tokens.len() > raw.len() - raw.len() / 16 {
                    return out.literals(raw);
                }
                out.dynamic_or_stored(tokens, raw)
            }
        }
    }

    /// Makes what was the block the history of the next.
    fn advance(&mut self) {
        if let Coder::Fast(fast) = &mut self.coder {
            self.bytes.copy_within(MOST_STORED..HISTORY + MOST_STORED, 0);
            fast.advance(MOST_STORED);
        }
        self.end = HISTORY;
    }
}
