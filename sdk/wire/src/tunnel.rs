//! A byte stream inside a gRPC stream of `BytesMessage`s: the session tunnel (`Control.Session`).
//!
//! Both ends turn their half of the gRPC call into an ordinary duplex byte stream; on top of that
//! runs HTTP/2 again, with the roles swapped (see [`crate::channel`]). Nothing is buffered beyond
//! the pipe, so a slow reader slows the writer down.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

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

/// The size of one read, and so of one message, in bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// How much may wait inside the pipe, in bytes.
const PIPE_BYTES: usize = 256 << 10;

/// Joins an incoming stream of messages to a byte stream.
///
/// Returns the byte stream for the caller and the outgoing messages for the gRPC call. The byte
/// stream ends when `incoming` ends or fails; `outgoing` ends when the byte stream is dropped.
pub fn join<M, S>(incoming: S) -> (DuplexStream, ReceiverStream<M>)
where
    M: Chunk,
    S: Stream<Item = Result<M, tonic::Status>> + Send + Unpin + 'static,
{
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let outgoing = pump(far, incoming);
    (near, outgoing)
}

/// Pumps an existing byte stream: what arrives in `incoming` is written to it, what it says goes
/// into the returned messages.
pub fn pump<M, S, IO>(io: IO, mut incoming: S) -> ReceiverStream<M>
where
    M: Chunk,
    S: Stream<Item = Result<M, tonic::Status>> + Send + Unpin + 'static,
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(io);
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(Ok(message)) = incoming.next().await {
            if writer.write_all(&message.into_bytes()).await.is_err() {
                break;
            }
        }
        // An error here means that the reader is gone already.
        writer.shutdown().await.ok();
    });
    tokio::spawn(async move {
        let mut buffer = bytes::BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            buffer.reserve(CHUNK_BYTES);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if sender.send(M::from_bytes(buffer.split().freeze())).await.is_err() {
                break;
            }
        }
    });
    ReceiverStream::new(receiver)
}
