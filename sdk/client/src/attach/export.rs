//! Where exports go: directories and archives the daemon may write, by the number of the export.
//!
//! The service is made by hand, because directories and archives come over one method as different
//! messages and only the target tells which. An export without a target is answered with
//! `AlreadyExists`, which tells the daemon that nobody wants it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use kiln_filesync::{Diff, OnProgress, Owner, ReceiveOptions};
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::filetree::Packet;
use kiln_wire::proto::session_files::BytesMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::body::Body;
use tonic::codegen::BoxStream;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::attach::header;
use crate::attach::local_dirs::with_cause;

const PATH: &str = "/moby.filesync.v1.FileSend/DiffCopy";

/// Opens an archive for writing; gets what the daemon says about the export.
pub type OpenWriter = Arc<
    dyn Fn(&BTreeMap<String, String>) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>>
        + Send
        + Sync,
>;

/// A directory that takes an export.
#[derive(Debug, Clone, Default)]
pub struct DirTarget {
    /// Where it is; made if it is not there.
    pub path: PathBuf,
    /// Deletes what the export does not have. Otherwise the export is laid over what is there.
    pub delete: bool,
    /// Hears how much arrived.
    pub progress: OnProgress,
}

/// What takes one export.
#[derive(Clone)]
pub enum ExportTarget {
    /// Files, in a directory.
    Directory(DirTarget),
    /// An archive.
    Archive(OpenWriter),
    /// An OCI layout on disk instead of an archive (`tar=false`).
    Layout(PathBuf),
}

impl ExportTarget {
    /// A directory, over which the export is laid.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory(DirTarget { path: path.into(), ..DirTarget::default() })
    }

    /// An archive file, replaced if it is there.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::Archive(Arc::new(move |_| {
            let file = std::fs::File::create(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            Ok(Box::new(tokio::fs::File::from_std(file)))
        }))
    }

    /// An archive into a writer that can be used once, such as standard output.
    pub fn writer(writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        let once: Mutex<Option<Box<dyn AsyncWrite + Send + Unpin>>> =
            Mutex::new(Some(Box::new(writer)));
        Self::Archive(Arc::new(move |_| {
            let writer = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            writer.ok_or_else(|| io::Error::other("the output was written already"))
        }))
    }
}

impl fmt::Debug for ExportTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(target) => target.fmt(f),
            Self::Archive(_) => f.write_str("Archive"),
            Self::Layout(path) => f.debug_tuple("Layout").field(path).finish(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ExportService(pub(crate) Arc<BTreeMap<String, ExportTarget>>);

impl ExportService {
    pub(crate) const METHODS: &[&str] = &[PATH];

    /// The target of a call. A daemon that does not number its exports has only one.
    fn target(&self, metadata: &MetadataMap) -> Result<&ExportTarget, Status> {
        let id = header::first(metadata, "buildkit-attachable-exporter-id")?;
        let target = self.0.get(&id).or_else(|| match (id.is_empty(), self.0.len()) {
            (true, 1) => self.0.values().next(),
            _ => None,
        });
        target.ok_or_else(|| Status::already_exists(format!("nobody takes export {id:?}")))
    }
}

impl NamedService for ExportService {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl tower::Service<http::Request<Body>> for ExportService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let target = match request.uri().path() {
            PATH => self.target(&metadata).cloned(),
            path => Err(Status::unimplemented(format!("{path} is not served"))),
        };
        Box::pin(async move {
            Ok(match target {
                Err(status) => status.into_http(),
                Ok(ExportTarget::Directory(target)) => {
                    let take = tower::service_fn(move |call| {
                        let target = target.clone();
                        async move { Ok::<_, Status>(Response::new(receive_dir(target, call))) }
                    });
                    let codec = ProstCodec::<Packet, Packet>::default();
                    Grpc::new(codec)
                        .max_decoding_message_size(MAX_MESSAGE_BYTES)
                        .streaming(take, request)
                        .await
                }
                Ok(ExportTarget::Archive(open)) => {
                    let take = tower::service_fn(move |call| {
                        let open = Arc::clone(&open);
                        async move { receive_archive(&open, call).map(Response::new) }
                    });
                    let codec = ProstCodec::<BytesMessage, BytesMessage>::default();
                    Grpc::new(codec)
                        .max_decoding_message_size(MAX_MESSAGE_BYTES)
                        .streaming(take, request)
                        .await
                }
                Ok(ExportTarget::Layout(_)) => {
                    Status::failed_precondition("this export goes to the content store `export`")
                        .into_http()
                }
            })
        })
    }
}

fn receive_dir(target: DirTarget, call: Request<Streaming<Packet>>) -> BoxStream<Packet> {
    // Not by size and time: an export with fixed times looks unchanged when only its content differs.
    let options = ReceiveOptions {
        diff: Diff::None,
        merge: !target.delete,
        owner: Owner::Ours,
        progress: target.progress,
        ..ReceiveOptions::default()
    };
    let (packets, outgoing) = kiln_filesync::outgoing();
    let incoming = call.into_inner();
    let receive = async move {
        let place = target.path.display().to_string();
        kiln_filesync::receive(target.path, options, incoming, packets)
            .await
            .map(drop)
            .map_err(|error| Status::aborted(format!("{place}: {}", with_cause(&error))))
    };
    with_work(outgoing, receive)
}

fn receive_archive(
    open: &OpenWriter,
    call: Request<Streaming<BytesMessage>>,
) -> Result<BoxStream<BytesMessage>, Status> {
    let failed = |error: io::Error| Status::aborted(format!("cannot write the export: {error}"));
    let mut writer = open(&described(call.metadata())).map_err(failed)?;
    let mut incoming = call.into_inner();
    let receive = async move {
        while let Some(message) = incoming.next().await {
            writer.write_all(&message?.data).await.map_err(failed)?;
        }
        // Shutting down does not wait for what standard output has not taken yet.
        writer.flush().await.map_err(failed)?;
        writer.shutdown().await.map_err(failed)
    };
    Ok(with_work(futures::stream::empty(), receive))
}

/// What the daemon says about an export.
fn described(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let ascii = metadata.iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => Some((key.as_str(), value.to_str().ok()?)),
        KeyAndValueRef::Binary(..) => None,
    });
    let ours = ascii.filter_map(|(key, value)| Some((key.strip_prefix("exporter-md-")?, value)));
    ours.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A stream of messages that also does the work which fills it; dropping it stops the work.
pub(crate) fn with_work<T: Send + 'static>(
    messages: impl Stream<Item = T> + Send + 'static,
    work: impl Future<Output = Result<(), Status>> + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
    let work = futures::stream::once(work).filter_map(|done| async move { done.err().map(Err) });
    Box::pin(futures::stream::select(messages.map(Ok), work))
}
