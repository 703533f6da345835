//! Single blobs, of a registry or of an OCI layout that the client holds, as a directory with one file.
//!
//! The digest is in the reference, so nothing is asked before the blob is wanted, and what was
//! fetched once serves every repository that says it has the blob.

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures::TryStreamExt as _;
use kiln_graph::{BlobAddress, BlobSource};
use kiln_keys::source::{BlobKey, blob_filename};
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{Registry, RegistryError};
use kiln_store::{Kind, Meter, RecordInfo, Ref, Store};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::keyed_lock::KeyedLock;
use crate::session::ByteStream;
use crate::source::{Cause, Content, Context, Metadata, Pin};
use crate::state::{REFS, State};
use crate::sums::Sums;

/// How much is written at once, in bytes.
const BUFFER: usize = 1 << 20;

/// The source of single blobs. A cheap handle.
#[derive(Clone)]
pub(crate) struct Blobs {
    registry: Registry,
    store: Store,
    state: State,
    /// One download of the same file at a time.
    locks: Arc<KeyedLock>,
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
    pub(crate) fn new(registry: &Registry, store: &Store, state: &State) -> Self {
        let (registry, store, state) = (registry.clone(), store.clone(), state.clone());
        Self { registry, store, state, locks: Arc::default() }
    }

    pub(crate) fn pin(source: &BlobSource) -> Result<Pin, BlobSourceError> {
        let digest = digest(&source.address)?;
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
        let _turn = self.locks.take(&memory_key).await;
        if let Some(id) = self.state.get::<String>(&REFS, &memory_key).await
            && let Ok(known) = self.store.load(&id)
        {
            return Ok(known);
        }
        let stored = |error: Cause| BlobSourceError::Store {
            blob: source.address.reference.to_string(),
            source: error,
        };
        let mutable = self.store.prepare(None).await.map_err(|error| stored(error.into()))?;
        let mounted = mutable.mount().await.map_err(|error| stored(error.into()))?;
        let name = match blob_filename(&source.filename) {
            name if name.is_empty() => digest(&source.address)?.hex().to_owned(),
            name => name,
        };
        let file = self.save(&source.address, &mounted.path().join(name), context).await?;
        finish(&file, source).map_err(|error| write_error(&source.address, error))?;
        drop((file, mounted));
        let result = mutable.commit().await.map_err(|error| stored(error.into()))?;
        let description = format!("blob {}", source.address.reference);
        let kept = result.keep(RecordInfo { kind: Kind::Regular, description }).await;
        kept.map_err(|error| stored(error.into()))?;
        self.state.put(&REFS, &memory_key, &result.id()).await;
        Ok(result)
    }

    /// Writes a blob into a file that does not exist yet. When this returns, the bytes are those that
    /// the digest says.
    pub(crate) async fn save(
        &self,
        address: &BlobAddress,
        path: &Path,
        context: &Context,
    ) -> Result<File, BlobSourceError> {
        let (digest, failed) = (digest(address)?, |error| write_error(address, error));
        let blob = || address.reference.to_string();
        let (mut stream, size) = self.open(address, digest, context).await?;
        let file = tokio::fs::File::create_new(path).await.map_err(failed)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let part = context.begin(digest.as_str(), size);
        let (mut sums, mut meter) = (Sums::new(Some(digest)), Meter::of(&self.store));
        let broken = |source| BlobSourceError::Fetch { blob: blob(), source };
        while let Some(chunk) = stream.try_next().await.map_err(broken)? {
            part.add(chunk.len() as u64);
            sums.update(&chunk);
            meter.add(chunk.len() as u64).await;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        sums.finish(Some(digest)).map_err(|got| BlobSourceError::Content { blob: blob(), got })?;
        Ok(file.into_inner().into_std().await)
    }

    /// The bytes, and how many there are; 0 if that is not known.
    async fn open(
        &self,
        address: &BlobAddress,
        digest: &Digest,
        context: &Context,
    ) -> Result<(ByteStream, u64), BlobSourceError> {
        let session = &context.session;
        if let Some(layout) = &address.layout {
            return Ok((session.layout_blob(&layout.session, &layout.store, digest, 0), 0));
        }
        let (reference, credentials) = (&address.reference, session.credentials());
        let size = self.registry.blob_size(reference, digest, &*credentials).await?;
        let descriptor = Descriptor::new("application/octet-stream", digest.clone(), size);
        let stream = self.registry.blob_stream(reference, &descriptor, 0, credentials);
        Ok((Box::pin(stream.map_err(Into::into)), size))
    }
}

fn digest(address: &BlobAddress) -> Result<&Digest, BlobSourceError> {
    let digest = address.reference.digest();
    digest.ok_or_else(|| BlobSourceError::Digest(address.reference.to_string()))
}

fn write_error(address: &BlobAddress, source: io::Error) -> BlobSourceError {
    BlobSourceError::Write { blob: address.reference.to_string(), source }
}

/// Gives the file its attributes.
fn finish(file: &File, source: &BlobSource) -> io::Result<()> {
    if (source.uid, source.gid) != (0, 0) {
        kiln_store::owner::set_owner_of(file, source.uid, source.gid)?;
    }
    // After the owner, because a change of owner takes set-user-id bits away.
    file.set_permissions(Permissions::from_mode(source.perm.unwrap_or(0o600)))?;
    let time = SystemTime::UNIX_EPOCH;
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}
