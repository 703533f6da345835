//! gRPC over any byte stream: a pipe, a tunnel, a pair of standard streams.
//!
//! One end calls [`connect`] and gets a channel; the other calls [`serve`] with its services. There
//! is exactly one connection and no reconnecting: when the stream ends, the channel is dead.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, Router};
use tonic::transport::{Channel, Endpoint};

/// Any two-way byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Flow control windows: file transfers should not wait for acknowledgements, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Opens a channel over a byte stream.
///
/// # Errors
///
/// If the far side does not speak HTTP/2.
pub async fn connect(io: impl Io) -> Result<Channel, tonic::transport::Error> {
    let once = Arc::new(Mutex::new(Some(io)));
    let connector = tower::service_fn(move |_| {
        let io = once.lock().ok().and_then(|mut slot| slot.take());
        async move {
            io.map(hyper_util::rt::TokioIo::new)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
        }
    });
    Endpoint::from_static("http://localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
}

/// A server with the same windows as [`connect`].
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
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
    let io = Once { io, _ended: ended };
    // The list of connections must not end after the first: that would start a graceful shutdown.
    let incoming =
        futures::stream::iter([Ok::<_, io::Error>(io)]).chain(futures::stream::pending());
    let closed = async {
        on_end.await.ok();
    };
    router.serve_with_incoming_shutdown(incoming, closed).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::secrets::secrets_client::SecretsClient;
    use crate::proto::secrets::secrets_server::{Secrets, SecretsServer};
    use crate::proto::secrets::{GetSecretRequest, GetSecretResponse};

    struct Echo;

    #[tonic::async_trait]
    impl Secrets for Echo {
        async fn get_secret(
            &self,
            request: tonic::Request<GetSecretRequest>,
        ) -> Result<tonic::Response<GetSecretResponse>, tonic::Status> {
            Ok(tonic::Response::new(GetSecretResponse { data: request.into_inner().id.into() }))
        }
    }

    #[tokio::test]
    async fn a_call_crosses_a_tunnel_inside_messages() {
        let (client_to_server, from_client) = tokio::sync::mpsc::channel(4);
        let incoming = tokio_stream::wrappers::ReceiverStream::new(from_client);
        let (server_io, mut outgoing) =
            crate::tunnel::join::<crate::proto::control::BytesMessage, _>(incoming);
        let (server_to_client, from_server) = tokio::sync::mpsc::channel(4);
        let back = tokio_stream::wrappers::ReceiverStream::new(from_server);
        let (client_io, mut to_server) =
            crate::tunnel::join::<crate::proto::control::BytesMessage, _>(back);
        tokio::spawn(async move {
            while let Some(message) = to_server.next().await {
                if client_to_server.send(Ok(message)).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(message) = outgoing.next().await {
                if server_to_client.send(Ok(message)).await.is_err() {
                    break;
                }
            }
        });
        let serving =
            tokio::spawn(serve(server().add_service(SecretsServer::new(Echo)), server_io));
        let channel = connect(client_io).await.unwrap();
        let mut client = SecretsClient::new(channel);
        let answer = client
            .get_secret(GetSecretRequest { id: "key".into(), ..Default::default() })
            .await
            .unwrap();
        assert_eq!(answer.into_inner().data, "key");
        drop(client);
        tokio::time::timeout(std::time::Duration::from_secs(5), serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
