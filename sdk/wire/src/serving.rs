//! The side of a byte stream that answers; see [`crate::channel`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, Router};

use crate::authority::WithAuthority;
use crate::channel::{CONNECTION_WINDOW, HEADER_BYTES, Io, STREAM_WINDOW};

/// A server with the same windows as [`connect`](crate::channel::connect).
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Serves one connection until the far side closes it.
///
/// # Errors
///
/// If the far side does not speak HTTP/2.
pub async fn serve(router: Router, io: impl Io) -> Result<(), tonic::transport::Error> {
    let (ended, on_end) = tokio::sync::oneshot::channel::<()>();
    let io = Once { io: WithAuthority::new(io), _ended: ended };
    // The list of connections must not end after the first: that would start a graceful shutdown.
    let incoming =
        futures::stream::iter([Ok::<_, io::Error>(io)]).chain(futures::stream::pending());
    let closed = async {
        on_end.await.ok();
    };
    router.serve_with_incoming_shutdown(incoming, closed).await
}

/// Serves every connection that comes in, also those of old clients (see [`crate::authority`]).
///
/// # Errors
///
/// If `incoming` fails; a connection that fails ends alone.
pub async fn serve_all<S, T>(router: Router, incoming: S) -> Result<(), tonic::transport::Error>
where
    S: Stream<Item = io::Result<T>>,
    T: Io + Connected<ConnectInfo: Clone + Send + Sync>,
{
    router.serve_with_incoming(incoming.map(|io| io.map(WithAuthority::new))).await
}

/// The one connection; when the server drops it, `serve` returns.
struct Once<T> {
    io: T,
    _ended: tokio::sync::oneshot::Sender<()>,
}

impl<T> Connected for Once<T> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<T: AsyncRead + Unpin> AsyncRead for Once<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Once<T> {
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
}
