//! Content stores of a client: OCI layouts to build from, caches, and exports that are not archives.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use kiln_oci::Digest;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::content::content_client::ContentClient;
use kiln_wire::proto::content::{
    InfoRequest, ReadContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::call::{CallError, answers, within};
use crate::caller::Caller;
use crate::header;
use crate::waiting::{self, SILENCE};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What a store knows about a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentInfo {
    /// In bytes.
    pub size: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One content store of a client.
#[derive(Debug, Clone)]
pub struct ContentStore {
    caller: Caller,
    id: String,
}

impl Caller {
    /// A store by its id: `oci:<id>` for a layout, `local:<dir>` for a cache, `export`.
    pub fn content(&self, store: &str) -> ContentStore {
        ContentStore { caller: self.clone(), id: store.to_owned() }
    }
}

impl ContentStore {
    /// Looks a blob up; `None` if the store has none of this digest.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn info(&self, digest: &Digest) -> Result<Option<ContentInfo>, CallError> {
        let mut client = self.client()?;
        let call = self.request(InfoRequest { digest: digest.to_string() })?;
        let answer =
            match self.caller.run(within(TIMEOUT, "a content store", client.info(call))).await {
                Err(error) if error.code() == Some(Code::NotFound) => return Ok(None),
                other => other?,
            };
        let info = answer.info.ok_or(CallError::Invalid("a blob without information"))?;
        let size =
            u64::try_from(info.size).map_err(|_| CallError::Invalid("a blob of negative size"))?;
        Ok(Some(ContentInfo { size, labels: info.labels }))
    }

    /// Reads a blob from `offset`. Nothing is verified; the reader must check size and digest.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; the stream ends with the session.
    pub fn read(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
        let mut client = self.client()?;
        let offset =
            i64::try_from(offset).map_err(|_| CallError::Invalid("an offset beyond all blobs"))?;
        let call =
            self.request(ReadContentRequest { digest: digest.to_string(), offset, size: 0 })?;
        let data = answers(async move { client.read(call).await });
        let data = data.map_ok(|answer| answer.data).map_err(CallError::refused("a content store"));
        let what = format!("the content of {digest} in `{}`", self.id);
        let late = || CallError::TimedOut { what: what.into(), limit: SILENCE };
        let data = waiting::not_silent(data.boxed(), SILENCE, late);
        Ok(until_ended(&self.caller, data))
    }

    /// Writes a blob, unless the store has it. The client verifies size and digest.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; `data` is anything that can fail, its error is reported as
    /// [`CallError::Refused`].
    pub async fn write<S>(
        &self,
        digest: &Digest,
        size: u64,
        labels: BTreeMap<String, String>,
        mut data: S,
    ) -> Result<(), CallError>
    where
        S: futures::Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
    {
        let total =
            i64::try_from(size).map_err(|_| CallError::Invalid("a blob beyond all sizes"))?;
        let (messages, outgoing) = mpsc::channel(2);
        let call = self.request(ReceiverStream::new(outgoing))?;
        let mut client = self.client()?;
        let mut incoming = answers(async move { client.write(call).await });
        let write = async {
            let mut offset = 0;
            let base = WriteContentRequest {
                r#ref: format!("kiln-{digest}"),
                total,
                expected: digest.to_string(),
                ..WriteContentRequest::default()
            };
            // Moved into the future: a source that fails must end the call, not leave it open.
            let feed = async move {
                while let Some(chunk) = data.next().await {
                    let chunk = chunk.map_err(|error| Status::aborted(error.to_string()))?;
                    let length = chunk.len() as i64;
                    let message = WriteContentRequest {
                        action: WriteAction::Write.into(),
                        offset,
                        data: chunk,
                        ..base.clone()
                    };
                    if messages.send(message).await.is_err() {
                        return Ok(());
                    }
                    offset += length;
                }
                let commit = WriteContentRequest {
                    action: WriteAction::Commit.into(),
                    offset,
                    labels,
                    ..base
                };
                messages.send(commit).await.ok();
                Ok::<_, Status>(())
            };
            let (fed, committed) = tokio::join!(feed, committed(&mut incoming));
            fed.and(committed).or_else(|status| match status.code() {
                Code::AlreadyExists => Ok(()),
                _ => Err(CallError::refused("a content store")(status)),
            })
        };
        self.caller.run(write).await
    }

    fn client(&self) -> Result<ContentClient<Channel>, CallError> {
        Ok(ContentClient::new(self.caller.channel()?).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, CallError> {
        let mut request = Request::new(message);
        header::append(request.metadata_mut(), "buildkit-attachable-store-id", &[&self.id])?;
        Ok(request)
    }
}

/// Waits for the answer to the commit.
async fn committed(
    answers: &mut BoxStream<'static, Result<WriteContentResponse, Status>>,
) -> Result<(), Status> {
    while let Some(answer) = answers.next().await {
        if answer?.action == i32::from(WriteAction::Commit) {
            return Ok(());
        }
    }
    Err(Status::aborted("the client left before it had the blob"))
}

/// The stream, failing when the session ends.
pub(crate) fn until_ended<T: Send + 'static>(
    caller: &Caller,
    stream: BoxStream<'static, Result<T, CallError>>,
) -> BoxStream<'static, Result<T, CallError>> {
    let caller = caller.clone();
    futures::stream::try_unfold(stream, move |mut stream| {
        let caller = caller.clone();
        async move {
            let next = caller.run(async { stream.next().await.transpose() }).await?;
            Ok(next.map(|item| (item, stream)))
        }
    })
    .boxed()
}
