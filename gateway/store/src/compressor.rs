//! Compresses streams, on several threads where that pays.
//!
//! gzip is cut into blocks of 1 MiB, each of which becomes a member of its own: the members can be
//! made in parallel, readers join them by the rules of the format, and the bytes do not depend on
//! the number of threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor as Deflate};

use crate::compression::{Compression, CompressionKind};
use crate::sparse::is_zero;

const BLOCK: usize = 1 << 20;

/// Compresses what is written and passes it on.
pub(crate) enum Compressor<W: Write> {
    Gzip(Gzip<W>),
    Zstd(Box<zstd::Encoder<'static, W>>),
    Uncompressed(W),
}

impl<W: Write> Compressor<W> {
    pub(crate) fn new(compression: Compression, out: W) -> io::Result<Self> {
        Ok(match compression.kind {
            CompressionKind::Gzip => Self::Gzip(Gzip::new(compression.level.unwrap_or(6), out)),
            CompressionKind::Zstd => {
                let mut encoder = zstd::Encoder::new(out, compression.level.unwrap_or(3))?;
                // One worker or many give the same bytes, but none gives others.
                encoder.multithread(u32::try_from(threads()).unwrap_or(1))?;
                Self::Zstd(Box::new(encoder))
            }
            CompressionKind::Uncompressed => Self::Uncompressed(out),
        })
    }

    /// Writes what is left, and gives the stream back.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Uncompressed(out) => Ok(out),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
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

type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// gzip in members of 1 MiB.
pub(crate) struct Gzip<W: Write> {
    out: W,
    level: i32,
    block: Vec<u8>,
    members: usize,
    /// Members being made, in their order.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// Started when there is a second block.
    workers: Option<Workers>,
    /// The member that a whole block of zeros makes, once there was one.
    zeros: Option<Vec<u8>>,
}

struct Workers {
    sender: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> Gzip<W> {
    fn new(level: i32, out: W) -> Self {
        let (pending, workers, zeros) = (VecDeque::new(), None, None);
        let level = level.clamp(0, 12);
        Self { out, level, block: Vec::new(), members: 0, pending, workers, zeros }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        let take = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn submit(&mut self) -> io::Result<()> {
        let level = self.level;
        let workers = self.workers.get_or_insert_with(|| Workers::start(level));
        let (done, member) = sync_channel(1);
        if is_zero(&self.block) {
            // Files with holes are made of them.
            let known = match self.zeros.take() {
                Some(known) => known,
                None => {
                    deflate(level).and_then(|mut deflate| compress(&mut deflate, &self.block))?
                }
            };
            done.send(Ok(known.clone())).ok();
            self.zeros = Some(known);
            self.block.clear();
        } else {
            let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
            workers.send((block, done))?;
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
        let member = member.recv().map_err(|_| io::Error::other("a compressing thread died"))??;
        self.out.write_all(&member)
    }

    fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        while !self.pending.is_empty() {
            self.pass_on()?;
        }
        // An empty stream is one empty member.
        if !last.is_empty() || self.members == 0 {
            let member = compress(&mut deflate(self.level)?, &last)?;
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
                let Ok((block, done)) = next else { return };
                let result = match &mut compressor {
                    Ok(compressor) => compress(compressor, &block),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
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

/// A block as a member.
fn compress(compressor: &mut Deflate, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let len = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(len);
    Ok(member)
}
