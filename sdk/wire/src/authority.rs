//! Requests without a proper `:authority`, as old gRPC clients send them.
//!
//! Go's gRPC of before 2022, and others to this day, say nothing or the path of the socket where
//! HTTP/2 has the name of the server; `h2` resets such streams. [`WithAuthority`] stands between the
//! connection and the server and gives these requests an authority; clients whose first request has
//! one are not touched. What it does to the frames is in [`Filter`].

mod filter;
mod hpack;
mod huffman;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

pub use filter::{Filter, FilterError};
pub use hpack::BlockError;

/// How much is read from a connection at once while its frames are looked at, in bytes.
const READ_BYTES: usize = 32 << 10;

/// The server's end of a connection, on which every request has an authority.
#[derive(Debug)]
pub struct WithAuthority<T> {
    io: T,
    /// Gone when the client needs none.
    filter: Option<Filter>,
    arrived: BytesMut,
    /// What the server has not read yet.
    ready: BytesMut,
}

impl<T> WithAuthority<T> {
    /// Stands in front of a connection.
    pub fn new(io: T) -> Self {
        let filter = Some(Filter::default());
        Self { io, filter, arrived: BytesMut::new(), ready: BytesMut::new() }
    }
}

impl<T: AsyncRead + Unpin> WithAuthority<T> {
    /// Reads from the connection until there is something for the server, or nothing any more.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty()
            && let Some(filter) = &mut self.filter
        {
            self.arrived.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut self.arrived);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            match buffer.filled() {
                [] => {
                    let rest = self.filter.take().map(Filter::finish).unwrap_or_default();
                    self.ready.extend_from_slice(&rest);
                }
                arrived => filter.feed(arrived, &mut self.ready).map_err(invalid)?,
            }
            if self.filter.as_ref().is_some_and(Filter::is_off) {
                self.filter = None;
                self.arrived = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WithAuthority<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        if self.ready.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WithAuthority<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<T: Connected> Connected for WithAuthority<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}
