//! gRPC over any byte stream: a pipe, a tunnel, a pair of standard streams.
//!
//! One end calls [`connect`] and gets a channel; the other, which needs the feature `server`, calls
//! `serve` with its services. There is exactly one connection and no reconnecting: when the stream
//! ends, the channel is dead.

use std::io;
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};

#[cfg(feature = "server")]
pub use crate::serving::{serve, serve_all, server};

/// Any two-way byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Flow control windows: file transfers should not wait for acknowledgements, in bytes.
///
/// That of a stream bounds what is held for a reader that is slow. That of the connection is much larger
/// than a few of those together, because h2 takes half of it as the most that small frames may cost it:
/// a frame that is shorter than 256 bytes costs what it lacks, until it is read. Go servers send each
/// message as two frames, one of 5 bytes, so a list of files fills the window of its stream at about
/// ten times its bytes, and a connection that has spent all is closed (`too_many_data_frames`).
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 256 << 20;

/// The most header bytes of one call or answer: which files of a directory are wanted stands there, and
/// what is known of an error.
pub(crate) const HEADER_BYTES: u32 = 4 << 20;

/// Opens a channel over a byte stream.
///
/// # Errors
///
/// If the far side does not speak HTTP/2.
pub async fn connect(io: impl Io) -> Result<Channel, tonic::transport::Error> {
    pipe().connect_with_connector(once(io)).await
}

/// A channel over a byte stream, on which nothing is said before the first call.
pub fn connect_lazy(io: impl Io) -> Channel {
    pipe().connect_with_connector_lazy(once(io))
}

fn pipe() -> Endpoint {
    bounded(Endpoint::from_static("http://localhost"))
}

/// An endpoint with the flow control windows and bounds that everything here has.
pub fn bounded(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Connects once, to what is there already.
fn once<T: Io>(
    io: T,
) -> impl tower::Service<http::Uri, Response = TokioIo<T>, Error = io::Error, Future: Send>
+ Send
+ 'static {
    let once = Arc::new(Mutex::new(Some(io)));
    tower::service_fn(move |_| {
        let io = once.lock().ok().and_then(|mut slot| slot.take());
        let io = io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { io.map(TokioIo::new) }
    })
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use futures::StreamExt as _;

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
            let id = request.into_inner().id;
            if id == "large" {
                let details = vec![b'x'; 300_000].into();
                return Err(tonic::Status::with_details(tonic::Code::NotFound, "none", details));
            }
            Ok(tonic::Response::new(GetSecretResponse { data: id.into() }))
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
        let error =
            client.get_secret(GetSecretRequest { id: "large".into(), ..Default::default() });
        let error = error.await.unwrap_err();
        assert_eq!(
            (error.code(), error.details().len()),
            (tonic::Code::NotFound, 300_000),
            "{error}"
        );
        drop(client);
        tokio::time::timeout(std::time::Duration::from_secs(5), serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// A frame on stream 1.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let stream = u8::from(kind != 4);
        let head = [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags, 0, 0, 0, stream]];
        [&head.concat(), payload].concat()
    }

    /// What a client sends that asks for the secret `key`, with an authority as it is encoded.
    fn old_client(authority: &[u8]) -> Vec<u8> {
        let path = b"/moby.buildkit.secrets.v1.Secrets/GetSecret";
        let head = [b"\x83\x86\x04", &[path.len() as u8][..], path, authority].concat();
        let head = [&head[..], b"\x0f\x10\x10application/grpc", b"\0\x02te\x08trailers"].concat();
        let request = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, b""),
            frame(1, 4, &head),
            frame(0, 1, b"\0\0\0\0\x05\x0a\x03key"),
        ];
        request.concat()
    }

    /// Reads frames until one is of the kind, on stream 1; gives its payload.
    async fn answered(io: &mut (impl AsyncRead + Unpin), wanted: u8) -> Vec<u8> {
        use tokio::io::AsyncReadExt as _;
        loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            io.read_exact(&mut payload).await.unwrap();
            assert!(!matches!(head[3], 3 | 7), "reset or goodbye: {payload:?}");
            if head[3] == wanted && head[8] == 1 {
                return payload;
            }
        }
    }

    #[tokio::test]
    async fn clients_without_an_authority_are_answered() {
        use tokio::io::AsyncWriteExt as _;
        // Empty, the path of a socket as it is and escaped, absent, and a proper one.
        for authority in [
            &b"\x81"[..],
            b"\x41\x12/run/buildkit.sock",
            b"\x41\x10%2Frun%2Fkd.sock",
            b"",
            b"\x41\x09localhost",
        ] {
            let (mut ours, theirs) = tokio::io::duplex(64 << 10);
            let serving =
                tokio::spawn(serve(server().add_service(SecretsServer::new(Echo)), theirs));
            ours.write_all(&old_client(authority)).await.unwrap();
            assert_eq!(answered(&mut ours, 0).await, b"\0\0\0\0\x05\x0a\x03key");
            drop(ours);
            serving.await.unwrap().ok();
        }
    }
}
