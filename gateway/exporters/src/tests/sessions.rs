//! Exports through a real session, to a client made by hand.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use kiln_filesync::{Root, SendOptions};
use kiln_session::{Caller, SessionManager};
use kiln_wire::proto::control::BytesMessage as Piece;
use kiln_wire::proto::filetree::{Packet, Stat, packet::PacketType};
use kiln_wire::proto::session_files::BytesMessage;
use kiln_wire::proto::session_files::file_send_server::{FileSend, FileSendServer};
use kiln_wire::{channel, tunnel};
use rustix::fs::XattrFlags;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// What a client does with an export.
#[derive(Debug, Default)]
struct Target {
    /// Says that it has no use for it.
    unwanted: bool,
    received: Mutex<Option<(MetadataMap, Vec<u8>)>>,
    /// Some of the stream was read.
    reading: AtomicBool,
    /// The call is over, one way or the other.
    over: AtomicBool,
}

/// Notes the end of a call, also of one that is broken off.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl FileSend for Target {
    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        if self.unwanted {
            return Err(Status::already_exists("no target"));
        }
        let (metadata, _, mut stream) = request.into_parts();
        let _over = Over(&self.over);
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await? {
            bytes.extend_from_slice(&message.data);
            self.reading.store(true, Ordering::SeqCst);
        }
        *self.received.lock().unwrap() = Some((metadata, bytes));
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }
}

/// Opens a session whose client has this target, and gives the task that is the client.
async fn session(target: &Arc<Target>) -> (JoinHandle<()>, Caller) {
    let manager = SessionManager::default();
    let mut metadata = MetadataMap::new();
    metadata.insert("x-docker-expose-session-uuid", "one".parse().unwrap());
    let method = "/moby.filesync.v1.FileSend/DiffCopy";
    metadata.insert("x-docker-expose-session-grpc-method", method.parse().unwrap());
    let (to_daemon, at_daemon) = mpsc::channel::<Result<Piece, Status>>(4);
    let outgoing = manager.handle(&metadata, ReceiverStream::new(at_daemon)).unwrap();
    let (io, mut from_client) = tunnel::join::<Piece, _>(outgoing.map(Ok));
    let (_, health) = tonic_health::server::health_reporter();
    let service = FileSendServer::from_arc(target.clone()).max_decoding_message_size(4 << 20);
    let router = channel::server().add_service(service).add_service(health);
    let serving = tokio::spawn(async move {
        let pump = async {
            while let Some(piece) = from_client.next().await {
                if to_daemon.send(Ok(piece)).await.is_err() {
                    break;
                }
            }
        };
        let (served, ()) = tokio::join!(channel::serve(router, io), pump);
        served.ok();
    });
    let caller = manager.get("one", Duration::from_secs(5)).await.unwrap();
    (serving, caller)
}

fn body(pieces: Vec<std::io::Result<Bytes>>) -> BodyStream {
    Box::pin(futures::stream::iter(pieces))
}

/// Waits, but not for ever.
async fn becomes_true(flag: &AtomicBool) {
    for _ in 0..500 {
        if flag.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

#[tokio::test]
async fn an_archive_arrives_whole_with_what_is_said_about_it() {
    let target = Arc::new(Target::default());
    let (_client, caller) = session(&target).await;
    let mut fixture = Fixture::new();
    fixture.context.client = Some(Arc::new(caller));
    let result = BuildResult::single(None);
    let response = fixture.export(&result, "oci", &[("name", "app:1")]).await.unwrap();
    let (metadata, bytes) = target.received.lock().unwrap().take().unwrap();
    assert_eq!(metadata.get("buildkit-attachable-exporter-id").unwrap(), "0");
    assert_eq!(
        metadata.get("exporter-md-containerimage.digest").unwrap(),
        response["containerimage.digest"].as_str()
    );
    assert_eq!(untar(&bytes).0.last().unwrap(), "oci-layout");
}

#[tokio::test]
async fn a_client_that_wants_nothing_is_no_failure() {
    let target = Arc::new(Target { unwanted: true, ..Target::default() });
    let (_client, caller) = session(&target).await;
    let client: &dyn Client = &caller;
    // Long enough that the refusal comes in the middle.
    let pieces = (0..64).map(|_| Ok(Bytes::from(vec![7; 1 << 20]))).collect();
    client.send_stream("0", &BTreeMap::new(), body(pieces)).await.unwrap();
    client.send_stream("0", &BTreeMap::new(), body(Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_here_breaks_there() {
    let target = Arc::new(Target::default());
    let (serving, caller) = session(&target).await;
    let client: &dyn Client = &caller;
    let reader = target.clone();
    let broken = async move {
        becomes_true(&reader.reading).await;
        Err(std::io::Error::other("disk on fire"))
    };
    let pieces = body(vec![Ok(Bytes::from(vec![7; 1 << 20]))]);
    let pieces = pieces.chain(futures::stream::once(broken));
    let sent = client.send_stream("0", &BTreeMap::new(), Box::pin(pieces)).await;
    assert_eq!(sent.unwrap_err().to_string(), "disk on fire");
    // Until the client hangs up, as it does when it hears that the build failed.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!target.over.load(Ordering::SeqCst));
    serving.abort();
    becomes_true(&target.over).await;
    assert!(target.received.lock().unwrap().is_none());
}

#[tokio::test]
async fn a_directory_is_described_as_it_was_meant() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for (name, value) in
        [("user.kiln.owner", "3:4"), ("trusted.overlay.opaque", "y"), ("user.mine", "z")]
    {
        rustix::fs::setxattr(&file, name, value.as_bytes(), XattrFlags::empty()).unwrap();
    }
    let stat = described(directory.path()).await;
    assert_eq!((stat.uid, stat.gid), (3, 4));
    assert_eq!(stat.mod_time, 1_000_000_000_000);
    assert_eq!(stat.xattrs.keys().collect::<Vec<_>>(), ["user.mine"]);
}

/// What a receiver is told about the only file of a directory.
async fn described(directory: &Path) -> Stat {
    let root = Root::open(directory).unwrap();
    let map = Some(crate::client::as_exported(Some(1000)));
    let options = SendOptions { map, ..SendOptions::default() };
    let (outgoing, mut packets) = kiln_filesync::outgoing();
    let (answers, incoming) = mpsc::channel::<Result<Packet, Status>>(8);
    let sending =
        tokio::spawn(kiln_filesync::send(root, options, ReceiverStream::new(incoming), outgoing));
    let mut found = None;
    while let Some(packet) = packets.next().await {
        match packet.stat {
            Some(stat) => found = Some(stat),
            None => {
                let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
                answers.send(Ok(fin)).await.ok();
            }
        }
    }
    sending.await.unwrap().unwrap();
    found.unwrap()
}
