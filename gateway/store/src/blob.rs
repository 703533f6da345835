//! Blobs: bytes by digest, as files `blobs/sha256/<hex>`.
//!
//! Bytes are hashed while they are written; a blob appears under its name only when it is whole
//! and on disk. A handle on a blob keeps it from being collected.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use kiln_oci::{Digest, Hasher};
use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;

use crate::Store;
use crate::early_flush::EarlyFlush;
use crate::error::{StoreError, blocking};
use crate::space::Meter;
use crate::sparse::SparseWriter;
use crate::store::Inner;

/// How much is gathered before it is hashed and written on another thread.
const CHUNK: usize = 1 << 20;

/// A whole blob on disk. Cheap to clone; while a handle lives the file stays.
#[derive(Clone, Debug)]
pub struct Blob {
    path: PathBuf,
    size: u64,
    pin: Arc<PinnedBlob>,
}

/// Keeps one blob from being collected.
pub(crate) struct PinnedBlob {
    digest: Digest,
    store: Arc<Inner>,
}

/// Why a blob was not stored, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another digest.
    #[error("content has digest {actual}, expected {expected}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// It was stored whole, and is another now.
    #[error(
        "blob {blob} was damaged on disk: its content has digest {actual} now. It is removed, and \
         made or fetched anew the next time"
    )]
    Damaged {
        /// The blob.
        blob: Digest,
        /// The digest of what is there.
        actual: Digest,
    },
    /// There are more or fewer bytes than announced.
    #[error("content has {actual} bytes, expected {expected}")]
    Size {
        /// What was announced.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// Only sha256 is stored.
    #[error("content addressed by {0} cannot be stored, only sha256 can")]
    Algorithm(String),
    /// There is no such blob.
    #[error("blob {0} is not stored")]
    NotFound(Digest),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Blob {
    /// Where the bytes are. Never write there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Their address.
    pub fn digest(&self) -> &Digest {
        &self.pin.digest
    }

    /// Removes it, because it is not what it should be.
    pub(crate) fn discard(&self) {
        self.pin.store.trash.discard(&self.path);
    }

    /// Opens it for reading from the start.
    pub fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|error| StoreError::io("open blob", &self.path, error))
    }
}

impl Store {
    /// The blob of this digest, if it is stored. Does not read it.
    pub fn blob(&self, digest: &Digest) -> Option<Blob> {
        if digest.algorithm() != "sha256" {
            return None;
        }
        let pin = self.inner.pin_blob(digest);
        let path = self.inner.blob_file(digest.hex());
        // Looked for after pinning: nobody removes it between the two.
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Blob { path, size: metadata.len(), pin })
    }

    /// Begins a blob, written to as [`AsyncWrite`]. Dropping the writer removes what was written.
    pub async fn writer(&self) -> Result<BlobWriter, StoreError> {
        let store = self.clone();
        let sink = blocking(move || store.sink()).await?;
        Ok(BlobWriter { sink: Some(sink), buffer: Vec::new(), spare: Vec::new(), task: None })
    }

    /// Begins a blob, written to as [`Write`], for threads that may block.
    pub fn sink(&self) -> Result<BlobSink, StoreError> {
        self.inner.check_reserve()?;
        let path = self.inner.root.join("ingest").join(self.inner.trash.name());
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| StoreError::io("create", &path, error))?;
        let hasher = Hasher::default();
        let file = SparseWriter::new(file);
        let (flush, store) = (EarlyFlush::default(), self.inner.clone());
        let meter = Meter::of(self);
        Ok(BlobSink { file, meter, flush, path, hasher, size: 0, store, renamed: false })
    }

    /// Stores bytes that are in memory already.
    pub async fn write_blob(&self, bytes: impl Into<Vec<u8>>) -> Result<Blob, BlobError> {
        let (store, bytes) = (self.clone(), bytes.into());
        blocking(move || {
            let digest = Digest::sha256(&bytes);
            if let Some(blob) = store.blob(&digest) {
                return Ok(blob);
            }
            let mut sink = store.sink()?;
            let written = sink.write_all(&bytes);
            written.map_err(|error| StoreError::io("writing blob", &sink.path, error))?;
            sink.commit(None, None)
        })
        .await
    }

    /// Reads a whole blob and compares it with its digest. One that differs is removed, so that it
    /// is fetched anew.
    pub async fn verify(&self, digest: &Digest) -> Result<(), BlobError> {
        let blob = self.blob(digest).ok_or_else(|| BlobError::NotFound(digest.clone()))?;
        blocking(move || {
            let actual = hash(&blob)?;
            if actual == *blob.digest() {
                return Ok(());
            }
            blob.discard();
            Err(BlobError::Damaged { blob: blob.digest().clone(), actual })
        })
        .await
    }

    /// Why a blob is not what it was when it was made, if it is not; removes it then.
    pub async fn damage(&self, digest: &Digest) -> Option<BlobError> {
        let verified = self.verify(digest).await;
        verified.err().filter(|error| matches!(error, BlobError::Damaged { .. }))
    }
}

fn hash(blob: &Blob) -> Result<Digest, StoreError> {
    let mut file = blob.open()?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; CHUNK]);
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| StoreError::io("read blob", &blob.path, error))?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
    }
}

/// A blob being written by a thread that may block.
pub struct BlobSink {
    /// Layers that are not compressed may be large and empty.
    file: SparseWriter,
    meter: Meter,
    flush: EarlyFlush,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
    store: Arc<Inner>,
    renamed: bool,
}

impl BlobSink {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.size
    }

    /// Flushes the bytes to disk and gives them their name.
    ///
    /// # Errors
    ///
    /// [`BlobError::Digest`] and [`BlobError::Size`] if they are not what was expected.
    pub fn commit(
        mut self,
        expected: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<Blob, BlobError> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = size.filter(|size| *size != self.size) {
            return Err(BlobError::Size { expected, actual: self.size });
        }
        match expected {
            Some(expected) if expected.algorithm() != "sha256" => {
                return Err(BlobError::Algorithm(expected.algorithm().to_owned()));
            }
            Some(expected) if *expected != actual => {
                return Err(BlobError::Digest { expected: expected.clone(), actual });
            }
            _ => {}
        }
        let pin = self.store.pin_blob(&actual);
        let path = self.store.blob_file(actual.hex());
        if !path.metadata().is_ok_and(|metadata| metadata.len() == self.size) {
            self.file
                .finish(self.size)
                .and_then(|()| self.flush.wait())
                .and_then(|()| self.file.sync())
                .map_err(|error| StoreError::io("flush blob", &self.path, error))?;
            std::fs::rename(&self.path, &path)
                .map_err(|error| StoreError::io("name blob", &path, error))?;
            self.renamed = true;
        }
        Ok(Blob { path, size: self.size, pin })
    }
}

impl Write for BlobSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.meter.add_blocking(bytes.len() as u64);
        self.file.write(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.flush.written(self.file.file(), self.size)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobSink {
    fn drop(&mut self) {
        if !self.renamed {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl std::fmt::Debug for BlobSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobSink").field("path", &self.path).field("size", &self.size).finish()
    }
}

/// What a writing thread gives back: the blob, the buffer, and whether it was written.
type Written = (BlobSink, Vec<u8>, io::Result<()>);

/// A blob being written by an async task.
///
/// What is written gathers in a buffer of 1 MiB; full buffers are hashed and written on another
/// thread while the next one fills.
#[derive(Debug)]
pub struct BlobWriter {
    /// Absent only while a task has it.
    sink: Option<BlobSink>,
    buffer: Vec<u8>,
    /// The buffer that was written last, for what comes after the next: memory that is given back each time
    /// has to be got from the kernel each time.
    spare: Vec<u8>,
    task: Option<JoinHandle<Written>>,
}

impl BlobWriter {
    /// Flushes the bytes to disk and gives them their name; see [`BlobSink::commit`].
    pub async fn commit(
        mut self,
        expected: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<Blob, BlobError> {
        let flushed = tokio::io::AsyncWriteExt::flush(&mut self).await;
        let sink = self.sink.take().ok_or(StoreError::Closed)?;
        flushed.map_err(|error| StoreError::io("writing blob", &sink.path, error))?;
        let expected = expected.cloned();
        blocking(move || sink.commit(expected.as_ref(), size)).await
    }

    /// Waits for the task that writes, if there is one.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(task) = &mut self.task else { return Poll::Ready(Ok(())) };
        let (sink, written, result) =
            ready!(Pin::new(task).poll(context)).map_err(io::Error::other)?;
        self.task = None;
        self.sink = Some(sink);
        self.spare = written;
        Poll::Ready(result)
    }

    fn start(&mut self) -> io::Result<()> {
        let mut sink = self.sink.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let next = std::mem::take(&mut self.spare);
        let mut buffer = std::mem::replace(&mut self.buffer, next);
        self.task = Some(tokio::task::spawn_blocking(move || {
            let result = sink.write_all(&buffer);
            buffer.clear();
            (sink, buffer, result)
        }));
        Ok(())
    }
}

impl AsyncWrite for BlobWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= CHUNK {
            ready!(self.poll_idle(context))?;
            self.start()?;
        }
        let take = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        Poll::Ready(Ok(take))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_idle(context))?;
        if !self.buffer.is_empty() {
            self.start()?;
            ready!(self.poll_idle(context))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Inner {
    pub(crate) fn pin_blob(self: &Arc<Self>, digest: &Digest) -> Arc<PinnedBlob> {
        let mut live = self.live();
        if let Some(pin) = live.blobs.get(digest.as_str()).and_then(Weak::upgrade) {
            return pin;
        }
        let pin = Arc::new(PinnedBlob { digest: digest.clone(), store: self.clone() });
        live.blobs.insert(digest.as_str().to_owned(), Arc::downgrade(&pin));
        pin
    }
}

impl Drop for PinnedBlob {
    fn drop(&mut self) {
        let mut live = self.store.live();
        if live.blobs.get(self.digest.as_str()).is_some_and(|pin| pin.strong_count() == 0) {
            live.blobs.remove(self.digest.as_str());
        }
    }
}

impl std::fmt::Debug for PinnedBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PinnedBlob").field(&self.digest).finish()
    }
}
