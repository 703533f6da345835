//! Files between a client and the daemon: local directories in, exports out.
//!
//! Directories cross as packets of `kiln_filesync` in both directions, archives as plain bytes. The
//! two kinds of export share one method and only the client's export target tells which it takes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::uri::PathAndQuery;
use kiln_filesync::{Filter, ReceiveOptions, ReceiveSummary, Root, SendOptions, SendSummary};
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::filetree::Packet;
use kiln_wire::proto::session_files::BytesMessage;
use kiln_wire::proto::session_files::file_sync_client::FileSyncClient;
use prost::Message;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::call::{CallError, answers};
use crate::caller::Caller;
use crate::header;
use crate::waiting::{self, SILENCE};

const SYNC: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// In the answer of a client: which directory of which machine is sent.
const DIRECTORY_ID: &str = "kiln-directory-id";
const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";

/// The most bytes in one message of an export.
const MAX_CHUNK_BYTES: usize = 3 << 20;

/// Which part of a client's local directory is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirRequest {
    /// The directory's name in the build request, such as `context`.
    pub name: String,
    /// What of it.
    pub filter: Filter,
}

/// Which export of a client takes what is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendTarget {
    /// The number of the export in the build request, as text.
    pub exporter: String,
    /// Further words for the client, such as the platform; sent with the prefix `exporter-md-`.
    pub metadata: BTreeMap<String, String>,
    /// Whether all platforms are sent at once, so that the client may delete what is not sent.
    pub multi_platform: bool,
}

impl Caller {
    /// Whether the client has local directories.
    pub fn has_directories(&self) -> bool {
        self.supports(SYNC)
    }

    /// Receives a client's local directory into `destination`; only what changed crosses.
    ///
    /// `options` is asked how to receive once it is known which directory of which machine it is.
    /// That is an id of the client's making, which BuildKit's clients do not give: then it is empty.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; the destination may be half way, and the next call completes it.
    pub async fn receive_dir(
        &self,
        request: &DirRequest,
        destination: PathBuf,
        options: impl FnOnce(&str) -> ReceiveOptions,
    ) -> Result<ReceiveSummary, CallError> {
        self.require(SYNC, "local directories")?;
        let (packets, outgoing) = kiln_filesync::outgoing();
        let mut call = Request::new(outgoing);
        request.describe(call.metadata_mut())?;
        let mut client =
            FileSyncClient::new(self.channel()?).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let name = request.name.clone();
        self.run(async {
            let what = format!("the local directory `{name}`");
            let answer = waiting::at_most(SILENCE, client.diff_copy(call)).await;
            let late = || CallError::TimedOut { what: what.clone().into(), limit: SILENCE };
            let answer =
                answer.ok_or_else(late)?.map_err(CallError::refused("local directories"))?;
            let directory = answer.metadata().get(DIRECTORY_ID);
            let options = options(directory.and_then(|id| id.to_str().ok()).unwrap_or_default());
            let silence = format!("nothing of {what} came for {SILENCE:?}");
            let silence = move || Status::deadline_exceeded(silence);
            let incoming = waiting::not_silent(answer.into_inner(), SILENCE, silence);
            let received = kiln_filesync::receive(destination, options, incoming, packets).await;
            received.map_err(CallError::received)
        })
        .await
    }

    /// Sends a directory to an export of the client. `Ok(None)` if the client wants nothing of it.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn send_dir(
        &self,
        target: &SendTarget,
        root: Root,
        options: SendOptions,
    ) -> Result<Option<SendSummary>, CallError> {
        self.require(SEND, "exports")?;
        let (packets, outgoing) = kiln_filesync::outgoing();
        let call = target.request(outgoing)?;
        let channel = self.channel()?;
        let incoming = answers(async move { stream::<Packet>(channel, call).await });
        let sent = self
            .run(async {
                let sent = kiln_filesync::send(root, options, incoming, packets).await;
                sent.map_err(CallError::sent)
            })
            .await;
        match sent {
            Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(None),
            sent => sent.map(Some),
        }
    }

    /// Opens a stream of bytes to an export of the client, for an archive.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; what the client says later comes out of the writer, at the latest when it
    /// is shut down. A client that wants nothing says [`Code::AlreadyExists`] then.
    pub fn send_stream(&self, target: &SendTarget) -> Result<FileWriter, CallError> {
        self.require(SEND, "exports")?;
        let (messages, outgoing) = mpsc::channel(2);
        let call = target.request(ReceiverStream::new(outgoing))?;
        let channel = self.channel()?;
        let caller = self.clone();
        let client = tokio::spawn(async move {
            let mut incoming = answers(async move { stream::<BytesMessage>(channel, call).await });
            let end = async {
                while let Some(message) = incoming.next().await {
                    message.map_err(CallError::refused("the export"))?;
                }
                Ok(())
            };
            caller.run(end).await
        });
        Ok(FileWriter { messages: PollSender::new(messages), client: Some(client) })
    }
}

/// Calls the export method with the type of message the target takes.
async fn stream<M: Message + Default + Send + 'static>(
    channel: Channel,
    call: Request<impl Stream<Item = M> + Send + 'static>,
) -> Result<Response<Streaming<M>>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.streaming(call, PathAndQuery::from_static(SEND), ProstCodec::<M, M>::default()).await
}

impl DirRequest {
    fn describe(&self, metadata: &mut MetadataMap) -> Result<(), CallError> {
        header::append(metadata, "dir-name", &[&self.name])?;
        header::append(metadata, "include-patterns", &self.filter.include)?;
        header::append(metadata, "exclude-patterns", &self.filter.exclude)?;
        header::append(metadata, "followpaths", &self.filter.follow_paths)
    }
}

impl SendTarget {
    fn request<T>(&self, messages: T) -> Result<Request<T>, CallError> {
        let mut call = Request::new(messages);
        let metadata = call.metadata_mut();
        header::append(metadata, "buildkit-attachable-exporter-id", &[&self.exporter])?;
        for (key, value) in &self.metadata {
            header::append(metadata, &format!("exporter-md-{key}"), &[value])?;
        }
        if self.multi_platform {
            header::append(metadata, "buildkit-exporter-multi-platform", &["1"])?;
        }
        Ok(call)
    }
}

/// Writes to an export of a client. It must be shut down; that waits until the client has it all.
#[derive(Debug)]
pub struct FileWriter {
    messages: PollSender<BytesMessage>,
    /// The call; gone when its answer was given.
    client: Option<JoinHandle<Result<(), CallError>>>,
}

impl FileWriter {
    /// The client's last word.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(client) = &mut self.client else { return Poll::Ready(Ok(())) };
        let answer = ready!(Pin::new(client).poll(cx));
        self.client = None;
        Poll::Ready(answer.map_err(io::Error::other)?.map_err(io::Error::other))
    }
}

impl AsyncWrite for FileWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.messages.poll_reserve(cx)).is_err() {
            ready!(self.poll_client(cx))?;
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the client stopped reading",
            )));
        }
        let length = data.len().min(MAX_CHUNK_BYTES);
        let message = BytesMessage { data: Bytes::copy_from_slice(&data[..length]) };
        self.messages.send_item(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.messages.close();
        self.poll_client(cx)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.abort();
        }
    }
}
