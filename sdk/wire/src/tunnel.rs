//! A byte stream inside a gRPC stream of `BytesMessage`s: the session tunnel (`Control.Session`).
//!
//! Both ends turn their half of the gRPC call into an ordinary duplex byte stream; on top of that
//! runs HTTP/2 again, with the roles swapped (see [`crate::channel`]). No more than a few messages
//! are buffered, so a slow reader slows the writer down.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;

use crate::proto;

/// A message that is nothing but bytes; the protocol has one in every package.
pub trait Chunk: Default + Send + 'static {
    /// Wraps bytes.
    fn from_bytes(data: Bytes) -> Self;
    /// Unwraps them.
    fn into_bytes(self) -> Bytes;
}

macro_rules! chunk {
    ($($path:path),+) => {$(
        impl Chunk for $path {
            fn from_bytes(data: Bytes) -> Self {
                Self { data }
            }
            fn into_bytes(self) -> Bytes {
                self.data
            }
        }
    )+};
}

chunk!(
    proto::control::BytesMessage,
    proto::session_files::BytesMessage,
    proto::sshforward::BytesMessage,
    proto::upload::BytesMessage
);

/// The most bytes of one message that is sent.
const CHUNK_BYTES: usize = 32 << 10;
/// How many messages may wait in each direction.
const QUEUE: usize = 8;

/// The byte stream of a tunnel, for whoever speaks through it.
///
/// It hands messages on as they are: each task that bytes pass through costs a wake-up, and of small
/// files most of the time goes there.
#[derive(Debug)]
pub struct Tunnel<M> {
    incoming: mpsc::Receiver<Bytes>,
    /// What of the last message was not read yet.
    rest: Bytes,
    outgoing: PollSender<M>,
}

/// Joins an incoming stream of messages to a byte stream.
///
/// Returns the byte stream for the caller and the outgoing messages for the gRPC call. The byte
/// stream ends when `incoming` ends or fails, which is noticed also while nobody reads; `outgoing`
/// ends when the byte stream is shut down or dropped.
pub fn join<M, S>(mut incoming: S) -> (Tunnel<M>, ReceiverStream<M>)
where
    M: Chunk,
    S: Stream<Item = Result<M, tonic::Status>> + Send + Unpin + 'static,
{
    let (received, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(Ok(message)) = incoming.next().await {
            if received.send(message.into_bytes()).await.is_err() {
                break;
            }
        }
    });
    let (sender, receiver) = mpsc::channel(QUEUE);
    let outgoing = PollSender::new(sender);
    (Tunnel { incoming: queue, rest: Bytes::new(), outgoing }, ReceiverStream::new(receiver))
}

/// Pumps an existing byte stream: what arrives in `incoming` is written to it, what it says goes
/// into the returned messages.
pub fn pump<M, S, IO>(io: IO, incoming: S) -> ReceiverStream<M>
where
    M: Chunk,
    S: Stream<Item = Result<M, tonic::Status>> + Send + Unpin + 'static,
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut tunnel, outgoing) = join(incoming);
    tokio::spawn(async move {
        tokio::pin!(io);
        // What fails here is that one side has gone; the other is told by the end of its stream.
        tokio::io::copy_bidirectional(&mut io, &mut tunnel).await.ok();
    });
    outgoing
}

impl<M> AsyncRead for Tunnel<M> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            let Some(message) = ready!(self.incoming.poll_recv(cx)) else {
                return Poll::Ready(Ok(()));
            };
            self.rest = message;
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<M: Chunk> Tunnel<M> {
    /// Sends one message of what `parts` have, or of as much of it as a message holds.
    fn poll_send(&mut self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        let gone =
            || io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the tunnel has gone");
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_| gone())?;
        let all = parts.iter().map(|part| part.len()).sum::<usize>().min(CHUNK_BYTES);
        let mut bytes = BytesMut::with_capacity(all);
        for part in parts {
            bytes.extend_from_slice(&part[..part.len().min(all - bytes.len())]);
        }
        self.outgoing.send_item(M::from_bytes(bytes.freeze())).map_err(|_| gone())?;
        Poll::Ready(Ok(all))
    }
}

impl<M: Chunk> AsyncWrite for Tunnel<M> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[bytes])
    }

    // A frame and its head are two slices, but one message.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let parts: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
        self.poll_send(cx, &parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}
