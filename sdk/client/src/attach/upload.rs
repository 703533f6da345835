//! Streams the daemon may read once, by address: an archive on standard input as the context.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{StreamExt, TryStreamExt};
use kiln_wire::proto::upload::BytesMessage;
use kiln_wire::proto::upload::upload_server::Upload;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::attach::header;
use crate::id::new_id;

/// The size of one message, in bytes.
const CHUNK_BYTES: usize = 32 << 10;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Streams that wait to be read.
#[derive(Clone, Default)]
pub struct Uploads(Arc<Mutex<BTreeMap<String, Reader>>>);

impl Uploads {
    /// Adds a stream; the answer is the address under which a build reads it.
    pub fn add(&self, reader: impl AsyncRead + Send + Unpin + 'static) -> String {
        let id = new_id();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Box::new(reader));
        format!("http://buildkit-session/{id}")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uploads")
    }
}

#[derive(Debug, Clone)]
pub(crate) struct UploadService(pub(crate) Uploads);

impl UploadService {
    pub(crate) const METHODS: &[&str] = &["/moby.upload.v1.Upload/Pull"];
}

#[tonic::async_trait]
impl Upload for UploadService {
    async fn pull(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        let path = header::first(request.metadata(), "urlpath")?;
        let id = path.trim_start_matches('/');
        let reader = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let reader =
            reader.ok_or_else(|| Status::not_found(format!("nothing is uploaded at {path:?}")))?;
        let chunks = ReaderStream::with_capacity(reader, CHUNK_BYTES);
        let messages = chunks
            .map_ok(|data| BytesMessage { data })
            .map_err(|error| Status::aborted(format!("cannot read the upload: {error}")));
        Ok(Response::new(messages.boxed()))
    }
}
