//! Content stores the daemon may use, by id: OCI layouts, caches on disk, exports that are layouts.
//!
//! A store is a directory with blobs under `blobs/<algorithm>/<hex>`. What the daemon writes is
//! hashed on the way in and only becomes a blob if it is what it was said to be.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{StreamExt, TryStreamExt};
use kiln_oci::{Descriptor, Digest, Hasher, Index};
use kiln_wire::proto::content::content_server::Content as ContentTrait;
use kiln_wire::proto::content::{
    AbortRequest, Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse,
    StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::attach::header;

/// The size of one message of a read, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Names an entry of an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The largest index read, in bytes.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// A directory of blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the daemon may add blobs.
    pub writable: bool,
}

impl Content {
    /// An OCI layout or cache to read.
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writable: false }
    }

    /// A directory to write an export or a cache to.
    pub fn writable(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writable: true }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm()).join(digest.hex())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ContentService(pub(crate) Arc<BTreeMap<String, Content>>);

impl ContentService {
    pub(crate) const METHODS: &[&str] = &[
        "/containerd.services.content.v1.Content/Info",
        "/containerd.services.content.v1.Content/Update",
        "/containerd.services.content.v1.Content/Read",
        "/containerd.services.content.v1.Content/Status",
        "/containerd.services.content.v1.Content/Write",
        "/containerd.services.content.v1.Content/Abort",
    ];

    fn store(&self, metadata: &MetadataMap) -> Result<&Content, Status> {
        let id = header::first(metadata, "buildkit-attachable-store-id")?;
        self.0
            .get(&id)
            .ok_or_else(|| Status::not_found(format!("no content store is named {id:?}")))
    }

    async fn describe(store: &Content, digest: &str) -> Result<Info, Status> {
        let digest = parse(digest)?;
        let found = tokio::fs::metadata(store.blob(&digest))
            .await
            .map_err(|error| missing(&digest, &error))?;
        let size = i64::try_from(found.len()).unwrap_or(i64::MAX);
        Ok(Info { digest: digest.to_string(), size, ..Info::default() })
    }
}

#[tonic::async_trait]
impl ContentTrait for ContentService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let store = self.store(request.metadata())?;
        let info = Self::describe(store, &request.get_ref().digest).await?;
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    /// Labels are not kept; the answer says so.
    async fn update(
        &self,
        request: Request<UpdateRequest>,
    ) -> Result<Response<UpdateResponse>, Status> {
        let store = self.store(request.metadata())?;
        let digest =
            request.get_ref().info.as_ref().map(|info| info.digest.as_str()).unwrap_or_default();
        let info = Self::describe(store, digest).await?;
        Ok(Response::new(UpdateResponse { info: Some(info) }))
    }

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<BoxStream<ReadContentResponse>>, Status> {
        let store = self.store(request.metadata())?;
        let wanted = request.get_ref();
        let digest = parse(&wanted.digest)?;
        let start =
            u64::try_from(wanted.offset).map_err(|_| Status::out_of_range("negative offset"))?;
        let mut file =
            File::open(store.blob(&digest)).await.map_err(|error| missing(&digest, &error))?;
        file.seek(SeekFrom::Start(start)).await.map_err(|error| failed(&error))?;
        let limit = u64::try_from(wanted.size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
        let mut offset = wanted.offset;
        let chunks = ReaderStream::with_capacity(file.take(limit), CHUNK_BYTES);
        let messages = chunks.map_err(|error| failed(&error)).map_ok(move |data| {
            let message = ReadContentResponse { offset, data };
            offset += message.data.len() as i64;
            message
        });
        Ok(Response::new(messages.boxed()))
    }

    /// Nothing is kept of a write that was broken off.
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Err(Status::not_found(format!("no write of {:?} is under way", request.get_ref().r#ref)))
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<BoxStream<WriteContentResponse>>, Status> {
        let store = self.store(request.metadata())?.clone();
        if !store.writable {
            return Err(Status::permission_denied("this content store is read-only"));
        }
        let state = (store, None, request.into_inner());
        let answers =
            futures::stream::try_unfold(state, |(store, mut ingest, mut incoming)| async move {
                let Some(message) = incoming.next().await.transpose()? else { return Ok(None) };
                let answer = Ingest::step(&store, &mut ingest, message).await?;
                Ok(Some((answer, (store, ingest, incoming))))
            });
        Ok(Response::new(answers.boxed()))
    }
}

/// A blob on its way in. Dropping it deletes what was written.
struct Ingest {
    file: File,
    path: TempPath,
    hasher: Hasher,
    offset: i64,
    total: i64,
    expected: Option<Digest>,
}

impl Ingest {
    /// Takes one message and gives its answer.
    async fn step(
        store: &Content,
        slot: &mut Option<Self>,
        message: WriteContentRequest,
    ) -> Result<WriteContentResponse, Status> {
        let mut ingest = match slot.take() {
            Some(ingest) => ingest,
            None => Self::open(store, &message).await?,
        };
        ingest.append(&message).await?;
        let action = WriteAction::try_from(message.action).unwrap_or(WriteAction::Stat);
        let mut answer = WriteContentResponse {
            action: action.into(),
            offset: ingest.offset,
            total: ingest.total,
            ..WriteContentResponse::default()
        };
        if action == WriteAction::Commit {
            let total = if message.total > 0 { message.total } else { ingest.total };
            answer.digest = ingest.commit(store, total, &message.expected).await?.to_string();
        } else {
            *slot = Some(ingest);
        }
        Ok(answer)
    }

    async fn open(store: &Content, first: &WriteContentRequest) -> Result<Self, Status> {
        let expected = if first.expected.is_empty() { None } else { Some(parse(&first.expected)?) };
        if let Some(digest) = &expected
            && tokio::fs::try_exists(store.blob(digest)).await.unwrap_or(false)
        {
            return Err(Status::already_exists(format!("content {digest}: already exists")));
        }
        let directory = store.path.join("ingest");
        tokio::fs::create_dir_all(&directory).await.map_err(|error| failed(&error))?;
        let temporary =
            tempfile::NamedTempFile::new_in(&directory).map_err(|error| failed(&error))?;
        let (file, path) = temporary.into_parts();
        let hasher = Hasher::default();
        Ok(Self {
            file: File::from_std(file),
            path,
            hasher,
            offset: 0,
            total: first.total,
            expected,
        })
    }

    async fn append(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        if message.data.is_empty() {
            return Ok(());
        }
        if message.offset != self.offset {
            let (got, want) = (message.offset, self.offset);
            return Err(Status::out_of_range(format!("write at offset {got}, expected {want}")));
        }
        self.file.write_all(&message.data).await.map_err(|error| failed(&error))?;
        self.hasher.update(&message.data);
        self.offset += message.data.len() as i64;
        if self.total > 0 && self.offset > self.total {
            return Err(Status::failed_precondition(format!(
                "more than the expected {} bytes",
                self.total
            )));
        }
        Ok(())
    }

    async fn commit(
        mut self,
        store: &Content,
        total: i64,
        expected: &str,
    ) -> Result<Digest, Status> {
        self.file.flush().await.map_err(|error| failed(&error))?;
        let digest = self.hasher.finish();
        if total > 0 && total != self.offset {
            return Err(Status::failed_precondition(format!(
                "got {} bytes, expected {total}",
                self.offset
            )));
        }
        let expected = if expected.is_empty() { self.expected } else { Some(parse(expected)?) };
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Status::failed_precondition(format!(
                "got content {digest}, expected {expected}"
            )));
        }
        let blob = store.blob(&digest);
        if let Some(directory) = blob.parent() {
            tokio::fs::create_dir_all(directory).await.map_err(|error| failed(&error))?;
        }
        self.path.persist(&blob).map_err(|error| failed(&error.error))?;
        readable_by_all(&blob).map_err(|error| failed(&error))?;
        Ok(digest)
    }
}

/// Temporary files are made for their owner only; blobs are for everybody.
fn readable_by_all(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

fn parse(digest: &str) -> Result<Digest, Status> {
    digest
        .parse()
        .map_err(|error| Status::invalid_argument(format!("invalid digest {digest:?}: {error}")))
}

fn missing(digest: &Digest, error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(format!("content {digest}: not found")),
        _ => failed(error),
    }
}

fn failed(error: &io::Error) -> Status {
    Status::aborted(error.to_string())
}

/// The digest of the entry named `tag` in a layout's index; `None` if there is none.
pub(crate) fn read_index(layout: &Path, tag: &str) -> io::Result<Option<Digest>> {
    let index = load_index(layout)?;
    let tagged = index
        .manifests
        .iter()
        .find(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag));
    Ok(tagged.map(|entry| entry.digest.clone()))
}

/// Names a manifest in a layout's index, which is made if it is not there.
pub(crate) fn tag_index(layout: &Path, mut manifest: Descriptor, tag: &str) -> io::Result<()> {
    let mut index = match load_index(layout) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Index {
            schema_version: 2,
            media_type: kiln_oci::media_type::OCI_INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        },
        other => other?,
    };
    index.manifests.retain(|entry| {
        let name = entry.annotations.get(REF_NAME);
        name.is_none_or(|name| name != tag) && !(name.is_none() && entry.digest == manifest.digest)
    });
    manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    index.manifests.push(manifest);
    let json = serde_json::to_vec(&index).map_err(io::Error::other)?;
    replace(layout, "index.json", &json)?;
    replace(layout, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

fn load_index(layout: &Path) -> io::Result<Index> {
    use std::io::Read;
    let mut json = Vec::new();
    std::fs::File::open(layout.join("index.json"))?.take(MAX_INDEX_BYTES).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    let path = directory.join(name);
    file.persist(&path).map_err(|error| error.error)?;
    readable_by_all(&path)
}
