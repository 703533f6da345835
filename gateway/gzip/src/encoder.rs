//! In: uncompressed bytes and a level. Out: a gzip stream in the inner writer.

use std::io::{self, Write};

use crate::block::BlockWriter;
use crate::chains::{Chained, Picker};
use crate::error::LevelError;
use crate::fast::Fast;
use crate::greedy::Greedy;
use crate::lazy::Lazy;
use crate::level::Method;
use crate::slabs::{Coder, Slabs};

/// Compresses what is written to it into one gzip member, the very bytes Go's
/// `compress/gzip` makes of the same writes.
///
/// The header is written with the first bytes or by [`Encoder::finish`], so an
/// encoder that was only made has written nothing. One that is dropped without
/// [`Encoder::finish`] leaves a stream that breaks off.
///
/// [`Write::write`] always takes all it is given. [`Write::flush`] flushes the inner
/// writer and nothing else: bytes the encoder still gathers stay where they are,
/// since the marker that a flush in Go leaves in the stream would change its digest.
///
/// After an error of the inner writer the stream is broken: every further write of
/// bytes and [`Encoder::finish`] are errors.
#[must_use = "a stream without its end cannot be read"]
pub struct Encoder<W: Write> {
    blocks: BlockWriter<W>,
    engine: Engine,
    level: i32,
    state: State,
    checksum: crc32fast::Hasher,
    /// The length of the input, modulo 2^32 as the format wants it.
    length: u32,
}

enum Engine {
    Slabs(Slabs),
    Chained(Chained),
}

#[derive(PartialEq, Eq)]
enum State {
    Fresh,
    Begun,
    Broken,
}

impl<W: Write> Encoder<W> {
    /// Makes an encoder for a level as Go counts them: 0 stores, 1 is fastest, 9
    /// packs best, -1 stands for 6 and -2 for Huffman codes without matches.
    ///
    /// # Errors
    ///
    /// If the level is not between -2 and 9.
    pub fn new(inner: W, level: i32) -> Result<Self, LevelError> {
        let engine = Engine::new(Method::of(level)?);
        Ok(Self {
            blocks: BlockWriter::new(inner),
            engine,
            level,
            state: State::Fresh,
            checksum: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    /// Writes what is still held back and the end of the stream, and gives the
    /// inner writer back, which is not flushed.
    ///
    /// # Errors
    ///
    /// If the inner writer fails, or has failed before.
    pub fn finish(mut self) -> io::Result<W> {
        self.guarded(Self::end)?;
        Ok(self.blocks.into_inner())
    }

    fn end(&mut self) -> io::Result<()> {
        match &mut self.engine {
            Engine::Slabs(slabs) => slabs.finish(&mut self.blocks)?,
            Engine::Chained(chained) => chained.finish(&mut self.blocks)?,
        }
        self.blocks.end()?;
        let checksum = self.checksum.clone().finalize();
        self.blocks.inner_mut().write_all(&checksum.to_le_bytes())?;
        self.blocks.inner_mut().write_all(&self.length.to_le_bytes())
    }

    fn feed(&mut self, input: &[u8]) -> io::Result<()> {
        self.checksum.update(input);
        self.length = self.length.wrapping_add(input.len() as u32);
        match &mut self.engine {
            Engine::Slabs(slabs) => slabs.feed(input, &mut self.blocks),
            Engine::Chained(chained) => chained.feed(input, &mut self.blocks),
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let hint = match self.level {
            9 => 2,
            1 => 4,
            _ => 0,
        };
        // Deflate, no flags, no time, unknown system.
        self.blocks.inner_mut().write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, hint, 255])
    }

    /// Runs one step of the stream, after the header. A step that fails may have
    /// written a part of its bytes, so none may follow it.
    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Fresh => self.header()?,
            State::Begun => {}
            State::Broken => return Err(io::Error::other("the gzip stream broke off earlier")),
        }
        step(self)?;
        self.state = State::Begun;
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        self.guarded(|encoder| encoder.feed(input))?;
        Ok(input.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blocks.inner_mut().flush()
    }
}

impl Engine {
    fn new(method: Method) -> Self {
        match method {
            Method::Stored => Self::Slabs(Slabs::new(Coder::Stored)),
            Method::Huffman => Self::Slabs(Slabs::new(Coder::Huffman)),
            Method::Fast => Self::Slabs(Slabs::new(Coder::Fast(Box::new(Fast::new())))),
            Method::Greedy { search, insert_up_to } => {
                Self::Chained(Chained::new(Picker::Greedy(Greedy { search, insert_up_to })))
            }
            Method::Lazy { search, good_enough } => {
                Self::Chained(Chained::new(Picker::Lazy(Lazy::new(search, good_enough))))
            }
        }
    }
}
