//! Messages that come as very small frames, before anybody reads them.
//!
//! Go's servers send each message as a frame of five bytes and one with the rest, so a list of ten
//! thousand files is twenty thousand small frames. The peer here is the `h2` crate, because tonic
//! packs its messages together.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use kiln_wire::channel::{connect, serve, server};
use kiln_wire::proto::session_files::BytesMessage;
use kiln_wire::proto::session_files::file_send_client::FileSendClient;
use kiln_wire::proto::session_files::file_send_server::{FileSend, FileSendServer};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// As many as describe a large context, in less than the window of one stream.
const MESSAGES: usize = 14_000;

/// A message as gRPC frames it: what stands before it, and itself.
fn message() -> (Bytes, Bytes) {
    let message = BytesMessage { data: vec![7; 40].into() }.encode_to_vec();
    let mut head = BytesMut::new();
    head.put_u8(0);
    head.put_u32(u32::try_from(message.len()).unwrap());
    (head.freeze(), message.into())
}

fn send_all(stream: &mut h2::SendStream<Bytes>) {
    let (head, message) = message();
    for _ in 0..MESSAGES {
        stream.send_data(head.clone(), false).unwrap();
        stream.send_data(message.clone(), false).unwrap();
    }
}

#[tokio::test]
async fn a_slow_reader_gets_every_message_of_a_server_that_sends_small_frames() {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (sent, all_sent) = oneshot::channel();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(theirs).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
        send_all(&mut stream);
        // The far side has them when it has answered a ping that was sent after them.
        let mut ping = connection.ping_pong().unwrap();
        let driving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
        ping.ping(h2::Ping::opaque()).await.ok();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        sent.send(()).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).ok();
        driving.await.unwrap();
    });
    let mut client = FileSendClient::new(connect(ours).await.unwrap());
    let (_open, nothing) = mpsc::channel(1);
    let answer = client.diff_copy(ReceiverStream::new(nothing)).await.unwrap();
    all_sent.await.unwrap();
    let received = answer.into_inner().map(|message| message.unwrap()).count().await;
    assert_eq!(received, MESSAGES);
}

/// Reads nothing until it is told to, then counts.
struct Late(std::sync::Mutex<Option<oneshot::Receiver<()>>>, mpsc::Sender<usize>);

#[tonic::async_trait]
impl FileSend for Late {
    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        let go = self.0.lock().unwrap().take().unwrap();
        let count = self.1.clone();
        let (_end, nothing) = mpsc::channel(1);
        tokio::spawn(async move {
            go.await.unwrap();
            let messages = request.into_inner().take(MESSAGES);
            count.send(messages.filter(|one| std::future::ready(one.is_ok())).count().await).await
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(nothing))))
    }
}

#[tokio::test]
async fn a_slow_service_gets_every_message_of_a_client_that_sends_small_frames() {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (go, told) = oneshot::channel();
    let (count, mut counted) = mpsc::channel(1);
    let late = Late(std::sync::Mutex::new(Some(told)), count);
    tokio::spawn(serve(server().add_service(FileSendServer::new(late)), theirs));
    let (mut client, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://localhost/moby.filesync.v1.FileSend/DiffCopy")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (_response, mut stream) = client.send_request(request, false).unwrap();
    send_all(&mut stream);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    go.send(()).unwrap();
    assert_eq!(counted.recv().await, Some(MESSAGES));
}
