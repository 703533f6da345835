//! A stream to the client whose bytes a blocking thread writes.
//!
//! The thread gets a [`PipeWriter`], the client the other end. If the writing fails the stream
//! ends in an error, so that a client never takes half an archive for a whole one; if the client
//! goes away the next write fails.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;

/// The size of pieces, in bytes. BuildKit's clients take at most 3 MiB at once; memory for more than 128 KiB
/// is the kernel's to give and to take back each time, which costs more than what is done with it.
const CHUNK: usize = 64 << 10;
/// How many pieces may wait.
const QUEUE: usize = 16;

/// Pieces of a stream, in order; ends early with an error if there is no more to come.
pub type BodyStream = BoxStream<'static, io::Result<Bytes>>;

/// The writing end.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

/// Starts a thread that writes, and gives what it writes as a stream.
pub(crate) fn pipe(
    produce: impl FnOnce(&mut PipeWriter) -> io::Result<()> + Send + 'static,
) -> BodyStream {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut writer = PipeWriter { sender, buffer: BytesMut::new() };
    // Not waited for: it ends with the stream, whose end it decides about.
    drop(tokio::task::spawn_blocking(move || {
        let produced = produce(&mut writer).and_then(|()| writer.flush());
        // An empty piece says that all is well. Nobody listens any more if this fails.
        writer.sender.blocking_send(produced.map(|()| Bytes::new())).ok();
    }));
    Box::pin(stream::unfold(Some(receiver), next))
}

type Receiver = mpsc::Receiver<io::Result<Bytes>>;

async fn next(receiver: Option<Receiver>) -> Option<(io::Result<Bytes>, Option<Receiver>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Ok(end)) if end.is_empty() => None,
        Some(Ok(chunk)) => Some((Ok(chunk), Some(receiver))),
        Some(Err(error)) => Some((Err(error), None)),
        // The thread is gone without a word.
        None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
    }
}

impl PipeWriter {
    fn send(&mut self) -> io::Result<()> {
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK - self.buffer.len());
        if self.buffer.is_empty() {
            self.buffer.reserve(CHUNK);
        }
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_written_arrives_in_pieces_of_bounded_size() {
        let stream = pipe(|out| out.write_all(&vec![7; 2 * CHUNK + 5]));
        let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK, CHUNK, 5]);
    }

    #[tokio::test]
    async fn a_failing_writer_spoils_the_stream() {
        let stream = pipe(|out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk on fire"))
        });
        let error = stream.try_collect::<Vec<Bytes>>().await.unwrap_err();
        assert_eq!(error.to_string(), "disk on fire");
    }

    #[tokio::test]
    async fn a_writer_notices_that_nobody_reads() {
        let (told, hears) = tokio::sync::oneshot::channel();
        let stream = pipe(|out| {
            let result = out.write_all(&vec![0; 16 * CHUNK]);
            told.send(result.as_ref().map_err(io::Error::kind).copied()).ok();
            result
        });
        drop(stream);
        assert_eq!(hears.await.unwrap(), Err(io::ErrorKind::BrokenPipe));
    }
}
