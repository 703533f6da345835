//! Single blobs, of a registry or of an OCI layout that the client holds, as a directory with one file.
//!
//! The digest is in the reference, so nothing is asked before the blob is wanted, and what was
//! fetched once serves every repository that says it has the blob.

use std::fs::{FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use futures::TryStreamExt as _;
use kiln_graph::BlobSource;
use kiln_keys::source::{BlobKey, blob_filename};
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{Registry, RegistryError};
use kiln_store::{Kind, MutableRef, RecordInfo, Ref, Store};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::progress::Part;
use crate::session::ByteStream;
use crate::source::{Cause, Content, Context, Metadata, Pin};
use crate::state::{REFS, StateFile};
use crate::sums::Sums;
use crate::turns::Turns;

/// How much is written at once, in bytes.
const BUFFER: usize = 1 << 20;

/// The source of single blobs.
pub(crate) struct Blobs {
    registry: Registry,
    store: Store,
    state: StateFile,
    /// One download of the same file at a time.
    turns: Turns,
}

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobSourceError {
    /// The reference names no blob.
    #[error("`{0}` has no digest, which a blob is addressed by (name@sha256:…)")]
    Digest(String),
    /// The registry, or what it sent.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It broke off, or the client does not give it.
    #[error("blob {blob}")]
    Fetch {
        /// The blob.
        blob: String,
        /// What was said.
        source: Cause,
    },
    /// It is another one.
    #[error("blob {blob}: the bytes that came have the digest {got}")]
    Content {
        /// The blob.
        blob: String,
        /// What came.
        got: Digest,
    },
    /// It could not be written.
    #[error("cannot write blob {blob}")]
    Write {
        /// The blob.
        blob: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The store failed.
    #[error("cannot store blob {blob}")]
    Store {
        /// The blob.
        blob: String,
        /// What the store said.
        source: Cause,
    },
}

impl Blobs {
    pub(crate) fn new(registry: &Registry, store: &Store, state: &StateFile) -> Self {
        let (registry, store, state) = (registry.clone(), store.clone(), state.clone());
        Self { registry, store, state, turns: Turns::default() }
    }

    pub(crate) fn pin(source: &BlobSource) -> Result<Pin, BlobSourceError> {
        let digest = digest(source)?;
        let key = BlobKey {
            digest,
            filename: &blob_filename(&source.filename),
            perm: source.perm.unwrap_or(0),
            uid: source.uid,
            gid: source.gid,
        };
        Ok(Pin {
            key: key.key(),
            content_key: None,
            metadata: Metadata::Blob { digest: digest.clone() },
            content: Content::Blob,
        })
    }

    pub(crate) async fn fetch(
        &self,
        source: &BlobSource,
        pin: &Pin,
        context: &Context,
    ) -> Result<Ref, BlobSourceError> {
        let memory_key = format!("blob {}", pin.key);
        let _turn = self.turns.take(&memory_key).await;
        let work = Work { blobs: self, source, digest: digest(source)?, context };
        // Whoever has a digest in a file already has not shown that this repository gives it to them.
        let stream = work.open().await?;
        if let Some(id) = self.state.get::<String>(&REFS, &memory_key).await
            && let Ok(known) = self.store.load(&id)
        {
            return Ok(known);
        }
        let result = work.download(stream).await?;
        self.state.put(&REFS, &memory_key, &result.id()).await;
        Ok(result)
    }
}

fn digest(source: &BlobSource) -> Result<&Digest, BlobSourceError> {
    source.reference.digest().ok_or_else(|| BlobSourceError::Digest(source.reference.to_string()))
}

/// One blob on its way.
struct Work<'a> {
    blobs: &'a Blobs,
    source: &'a BlobSource,
    digest: &'a Digest,
    context: &'a Context,
}

impl Work<'_> {
    fn name(&self) -> String {
        self.source.reference.to_string()
    }

    fn store_error(&self, source: impl Into<Cause>) -> BlobSourceError {
        BlobSourceError::Store { blob: self.name(), source: source.into() }
    }

    /// The bytes, and how many there are; 0 if that is not known. A registry is asked whether it has
    /// them; they come when they are read.
    async fn open(&self) -> Result<(ByteStream, u64), BlobSourceError> {
        let session = &self.context.session;
        if let Some(layout) = &self.source.layout {
            let (held_by, store) = (&layout.session, &layout.store);
            return Ok((session.layout_blob(held_by, store, self.digest, 0), 0));
        }
        let (reference, registry) = (&self.source.reference, &self.blobs.registry);
        let credentials = session.credentials();
        let size = registry.blob_size(reference, self.digest, &*credentials).await?;
        let descriptor = Descriptor::new("application/octet-stream", self.digest.clone(), size);
        let stream = registry.blob_stream(reference, &descriptor, 0, credentials);
        Ok((Box::pin(stream.map_err(Into::into)), size))
    }

    async fn download(&self, (stream, size): (ByteStream, u64)) -> Result<Ref, BlobSourceError> {
        let mutable = self.blobs.store.prepare(None).await.map_err(|e| self.store_error(e))?;
        self.write(stream, size, &mutable).await?;
        let result = mutable.commit().await.map_err(|e| self.store_error(e))?;
        let description = format!("blob {}", self.name());
        let kept = result.keep(RecordInfo { kind: Kind::Regular, description }).await;
        kept.map_err(|error| self.store_error(error))?;
        Ok(result)
    }

    async fn write(
        &self,
        mut stream: ByteStream,
        size: u64,
        mutable: &MutableRef,
    ) -> Result<(), BlobSourceError> {
        let failed = |source| BlobSourceError::Write { blob: self.name(), source };
        let mounted = mutable.mount().await.map_err(|e| self.store_error(e))?;
        let name = match blob_filename(&self.source.filename) {
            name if name.is_empty() => self.digest.hex().to_owned(),
            name => name,
        };
        let file = tokio::fs::File::create_new(mounted.path().join(name)).await.map_err(failed)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let part = Part::begin(self.context, self.digest.as_str(), size);
        let mut sums = Sums::new(Some(self.digest));
        let broken = |source| BlobSourceError::Fetch { blob: self.name(), source };
        while let Some(chunk) = stream.try_next().await.map_err(broken)? {
            part.add(chunk.len() as u64);
            sums.update(&chunk);
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        sums.finish(Some(self.digest))
            .map_err(|got| BlobSourceError::Content { blob: self.name(), got })?;
        finish(&file.into_inner().into_std().await, self.source).map_err(failed)
    }
}

/// Gives the file its attributes.
fn finish(file: &std::fs::File, source: &BlobSource) -> io::Result<()> {
    if (source.uid, source.gid) != (0, 0) {
        kiln_store::owner::set_owner_of(file, source.uid, source.gid)?;
    }
    // After the owner, because a change of owner takes set-user-id bits away.
    file.set_permissions(Permissions::from_mode(source.perm.unwrap_or(0o600)))?;
    let time = SystemTime::UNIX_EPOCH;
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}
