//! The content service: blobs of the records of builds, for whoever reads the history.
//!
//! Digests come in, bytes go out. Nothing can be written or deleted, and nothing else can be read:
//! neither results of builds nor layers of images.

use std::io::SeekFrom;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use kiln_history::{BlobFile, History};
use kiln_oci::Digest;
use kiln_progress::wire::timestamp;
use kiln_wire::proto::content as wire;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::control::history_status;

/// The pieces in which a blob is sent, in bytes.
const CHUNK: usize = 256 << 10;
/// How many blobs are listed in one message.
const LISTED: usize = 100;

/// The service.
pub(crate) struct Content(pub(crate) History);

impl Content {
    fn blob(&self, digest: &str) -> Result<BlobFile, Status> {
        let parsed: Result<Digest, _> = digest.parse();
        let parsed = parsed.map_err(|_| Status::invalid_argument("not a digest"))?;
        self.0.blob(&parsed).ok_or_else(|| not_found(&parsed))
    }
}

#[async_trait]
impl wire::content_server::Content for Content {
    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        let blob = self.blob(&request.get_ref().digest)?;
        Ok(Response::new(wire::InfoResponse { info: Some(info(&blob)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContentRequest>,
    ) -> Result<Response<BoxStream<wire::ListContentResponse>>, Status> {
        if request.get_ref().filters.iter().any(|filter| !filter.is_empty()) {
            return Err(Status::unimplemented("blobs have no labels to be filtered by"));
        }
        let blobs = self.0.blobs().await.map_err(|error| history_status(&error))?;
        let messages: Vec<_> = blobs
            .chunks(LISTED)
            .map(|blobs| Ok(wire::ListContentResponse { info: blobs.iter().map(info).collect() }))
            .collect();
        Ok(Response::new(futures::stream::iter(messages).boxed()))
    }

    async fn read(
        &self,
        request: Request<wire::ReadContentRequest>,
    ) -> Result<Response<BoxStream<wire::ReadContentResponse>>, Status> {
        let wire::ReadContentRequest { digest, offset, size } = request.into_inner();
        let blob = self.blob(&digest)?;
        let begin = u64::try_from(offset).ok().filter(|begin| *begin <= blob.size);
        let begin =
            begin.ok_or_else(|| Status::out_of_range("the offset is not within the blob"))?;
        // None given is all of it.
        let size = u64::try_from(size).map_err(|_| Status::out_of_range("the size is negative"))?;
        let limit = if size == 0 { u64::MAX } else { size };
        let failed = |error: std::io::Error| Status::internal(format!("reading a blob: {error}"));
        let mut file = File::open(&blob.path).await.map_err(|_| not_found(&blob.digest))?;
        file.seek(SeekFrom::Start(begin)).await.map_err(failed)?;
        let mut offset = offset;
        let chunks = ReaderStream::with_capacity(file.take(limit), CHUNK);
        let messages = chunks.map_err(failed).map_ok(move |data| {
            let message = wire::ReadContentResponse { offset, data };
            offset = offset.saturating_add(i64::try_from(message.data.len()).unwrap_or(0));
            message
        });
        Ok(Response::new(messages.boxed()))
    }
}

fn info(blob: &BlobFile) -> wire::Info {
    wire::Info {
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        created_at: Some(timestamp(blob.written)),
        updated_at: Some(timestamp(blob.written)),
        ..wire::Info::default()
    }
}

fn not_found(digest: &Digest) -> Status {
    Status::not_found(format!("content digest {digest}: not found"))
}
