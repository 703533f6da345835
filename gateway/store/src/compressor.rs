//! Compresses streams, on several threads where that pays.
//!
//! gzip is cut into blocks of 1 MiB, each of which becomes a member of its own: the members can be
//! made in parallel, readers join them by the rules of the format, and the bytes do not depend on
//! the number of threads. Where it is to be what BuildKit writes, it is one member, made on one
//! thread as Go makes it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor as Deflate};

use crate::compression::{Compression, CompressionKind};
use crate::estargz::{Estargz, Written};
use crate::sparse::is_zero;

const BLOCK: usize = 1 << 20;

/// The level of Go's gzip that stands for its usual one, and its highest.
const GO_DEFAULT: i32 = -1;
const GO_BEST: i32 = 9;

/// Compresses what is written and passes it on.
pub(crate) enum Compressor<W: Write> {
    Gzip(Gzip<W>),
    GoGzip(Box<kiln_gzip::Encoder<W>>),
    Zstd(Box<zstd::Encoder<'static, W>>),
    Estargz(Estargz<W>),
    Uncompressed(W),
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// `like_go` asks for the bytes that Go's gzip writes at this level, if it has that.
    pub(crate) fn new(compression: Compression, like_go: bool, out: W) -> io::Result<Self> {
        let level = compression.level.unwrap_or(GO_DEFAULT);
        Ok(match compression.kind {
            CompressionKind::Gzip if like_go && level <= GO_BEST => {
                let encoder = kiln_gzip::Encoder::new(out, level).map_err(io::Error::other)?;
                Self::GoGzip(Box::new(encoder))
            }
            CompressionKind::Gzip => Self::Gzip(Gzip::new(compression.level.unwrap_or(6), out)),
            CompressionKind::Zstd => {
                let mut encoder = zstd::Encoder::new(out, compression.level.unwrap_or(3))?;
                // One worker or many give the same bytes, but none gives others.
                encoder.multithread(u32::try_from(threads()).unwrap_or(1))?;
                Self::Zstd(Box::new(encoder))
            }
            CompressionKind::Estargz => {
                Self::Estargz(Estargz::new(compression.level.unwrap_or(6), out)?)
            }
            CompressionKind::Uncompressed => Self::Uncompressed(out),
        })
    }

    /// Writes what is left, and gives the stream back; also what became of a tar that is not the only
    /// thing in it.
    pub(crate) fn finish(self) -> io::Result<(W, Option<Written>)> {
        Ok(match self {
            Self::Gzip(gzip) => (gzip.finish()?, None),
            Self::GoGzip(encoder) => (encoder.finish()?, None),
            Self::Zstd(encoder) => (encoder.finish()?, None),
            Self::Estargz(estargz) => {
                let (out, written) = estargz.finish()?;
                (out, Some(written))
            }
            Self::Uncompressed(out) => (out, None),
        })
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::GoGzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Estargz(estargz) => estargz.write(bytes),
            Self::Uncompressed(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many threads to compress on.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(16)
}

/// A block, with memory for the member that it becomes.
struct Job {
    block: Vec<u8>,
    member: Vec<u8>,
    done: SyncSender<io::Result<Done>>,
}

/// A member, with the memory of the block that it was made of.
struct Done {
    member: Vec<u8>,
    block: Vec<u8>,
}

/// gzip in members of at most so many bytes.
pub(crate) struct Gzip<W: Write> {
    out: W,
    level: i32,
    /// The most bytes that become one member.
    most: usize,
    block: Vec<u8>,
    members: usize,
    /// Where the members begin that were passed on, and where the next one will.
    starts: Vec<u64>,
    end: u64,
    /// Members being made, in their order.
    pending: VecDeque<Receiver<io::Result<Done>>>,
    /// Memory of blocks and members that are done with, which would have to be got from the kernel anew.
    spare: Vec<Vec<u8>>,
    /// Started when there is a second block.
    workers: Option<Workers>,
    /// The member that so many zeros make, once there were some.
    zeros: Option<(usize, Vec<u8>)>,
}

struct Workers {
    sender: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() >= self.most {
            self.submit()?;
        }
        let take = bytes.len().min(self.most - self.block.len());
        self.block.extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Gzip<W> {
    fn new(level: i32, out: W) -> Self {
        Self::with_members(level, BLOCK, out)
    }

    /// One whose members have at most so many bytes.
    pub(crate) fn with_members(level: i32, most: usize, out: W) -> Self {
        let (pending, workers, zeros) = (VecDeque::new(), None, None);
        let (level, block, starts) = (level.clamp(0, 12), Vec::new(), Vec::new());
        let spare = Vec::new();
        Self { out, level, most, block, members: 0, starts, end: 0, pending, spare, workers, zeros }
    }

    /// Changes how many bytes a member has at most, from the next one on.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Ends the member that is being filled, if anything is in it.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.submit() }
    }

    /// How many members were begun and ended.
    pub(crate) fn members(&self) -> usize {
        self.members
    }

    /// Waits for the members that are being made.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Where the members begin that were passed on, in bytes.
    pub(crate) fn starts(&self) -> &[u64] {
        &self.starts
    }

    fn submit(&mut self) -> io::Result<()> {
        let level = self.level;
        let workers = self.workers.get_or_insert_with(|| Workers::start(level));
        let (done, member) = sync_channel(1);
        if is_zero(&self.block) {
            // Files with holes are made of them.
            let known = match self.zeros.take().filter(|(len, _)| *len == self.block.len()) {
                Some((_, known)) => known,
                None => deflate(level)
                    .and_then(|mut deflate| compress(&mut deflate, &self.block, Vec::new()))?,
            };
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.extend_from_slice(&known);
            done.send(Ok(Done { member: copy, block: Vec::new() })).ok();
            self.zeros = Some((self.block.len(), known));
            self.block.clear();
        } else {
            let member = self.spare.pop().unwrap_or_default();
            // The next one is probably as long.
            let long = self.block.len();
            let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(long));
            workers.send(Job { block: std::mem::replace(&mut self.block, next), member, done })?;
        }
        self.pending.push_back(member);
        self.members += 1;
        while self.pending.len() > 2 * threads() {
            self.pass_on()?;
        }
        Ok(())
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let Some(member) = self.pending.pop_front() else { return Ok(()) };
        let done = member.recv().map_err(|_| io::Error::other("a compressing thread died"))??;
        self.starts.push(self.end);
        self.end += done.member.len() as u64;
        self.out.write_all(&done.member)?;
        for mut memory in [done.member, done.block] {
            memory.clear();
            if memory.capacity() > 0 {
                self.spare.push(memory);
            }
        }
        Ok(())
    }

    /// Writes what is left, and gives the stream back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        self.drain()?;
        // An empty stream is one empty member.
        if !last.is_empty() || self.members == 0 {
            let member = compress(&mut deflate(self.level)?, &last, Vec::new())?;
            self.out.write_all(&member)?;
        }
        Ok(self.out)
    }
}

impl Workers {
    fn start(level: i32) -> Self {
        let (sender, receiver) = sync_channel::<Job>(threads());
        let receiver = Arc::new(Mutex::new(receiver));
        let work = move |receiver: &Mutex<Receiver<Job>>| {
            let mut compressor = deflate(level);
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Job { block, member, done }) = next else { return };
                let result = match &mut compressor {
                    Ok(compressor) => compress(compressor, &block, member),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
                let result = result.map(|member| Done { member, block });
                // Nobody waits for it when the whole stream was given up.
                done.send(result).ok();
            }
        };
        let start = |_| {
            let receiver = receiver.clone();
            std::thread::Builder::new().name("kiln-gzip".into()).spawn(move || work(&receiver))
        };
        let threads = (0..threads()).map_while(|i| start(i).ok()).collect();
        Self { sender: Some(sender), threads }
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let died = || io::Error::other("no compressing thread could be started");
        if self.threads.is_empty() {
            return Err(died());
        }
        self.sender.as_ref().ok_or_else(died)?.send(job).map_err(|_| died())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.sender.take();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn deflate(level: i32) -> io::Result<Deflate> {
    let level = CompressionLvl::new(level)
        .map_err(|_| io::Error::other(format!("{level} is no level of gzip")))?;
    Ok(Deflate::new(level))
}

/// A block as a member, in memory that is empty.
fn compress(compressor: &mut Deflate, block: &[u8], mut member: Vec<u8>) -> io::Result<Vec<u8>> {
    member.resize(compressor.gzip_compress_bound(block.len()), 0);
    let len = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(len);
    Ok(member)
}
