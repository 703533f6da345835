//! Applying: the tar of a layer blob becomes a layer directory, without a mount.
//!
//! This file decides what has to be done and moves the bytes; [`crate::extract`] writes them. What is
//! applied is a layer that is filled at once; see [`crate::fill`].

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_oci::{Descriptor, Digest, Hasher};

use crate::Store;
use crate::archive::{Archive, ArchiveError};
use crate::blob::Blob;
use crate::compression;
use crate::error::StoreError;
use crate::estargz;
use crate::extract::{ExtractError, Extraction};
use crate::fill::FillError;
use crate::layer::{Layer, Snapshot};
use crate::provider::Requester;
use crate::refs::Ref;
use crate::space::Meter;
use crate::store::Inner;

/// A blob that holds a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob, as compressed as it is.
    pub descriptor: Descriptor,
    /// The digest of its tar, uncompressed.
    pub diff_id: Digest,
}

/// Why a blob did not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The blob is not in the store.
    #[error("layer blob {0} is not stored")]
    NoBlob(Digest),
    /// The tar is another one than promised.
    #[error("layer blob {blob} holds a tar with digest {actual}, expected {expected}")]
    DiffId {
        /// The blob.
        blob: Digest,
        /// What was promised.
        expected: Digest,
        /// What is in it.
        actual: Digest,
    },
    /// The bytes cannot be read or decompressed.
    #[error("layer blob {blob} cannot be decompressed")]
    Decompress {
        /// The blob.
        blob: Digest,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The tar is malformed, or asks for something a layer may not do.
    #[error("layer blob {blob}, entry `{entry}`: {problem}")]
    Entry {
        /// The blob.
        blob: Digest,
        /// The entry's name, shortened.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Extracts a layer blob into a new layer on top of `parent`.
    ///
    /// The blob has to be stored already; gzip, zstd and plain tar are told apart by content. The
    /// digest of the tar is verified. A layer that was applied to the same parent before is shared
    /// instead, and two callers that apply the same at once share one extraction. The result is
    /// temporary until kept.
    ///
    /// An archive is hostile until proven otherwise: nothing is written outside the new layer,
    /// whatever its names, links and sizes say.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the extraction soon and removes what it wrote.
    pub async fn apply(&self, parent: Option<&Ref>, layer: &LayerBlob) -> Result<Ref, ApplyError> {
        let below = parent.map(Ref::layers).unwrap_or_default().to_vec();
        let top = self.lazy_layer(&below, layer, None).await?;
        let mut stacked = parent.map(|parent| parent.inner.stacked.clone()).unwrap_or_default();
        stacked = stacked.with(top.number());
        if top.is_secondary(&layer.descriptor.digest) {
            stacked.choose(top.number(), layer.descriptor.digest.clone());
        }
        let layers = below.into_iter().chain([top]).collect();
        let applied = Ref::stacked(&self.inner, layers, stacked);
        match applied.files(&Requester::nobody()).await {
            Ok(_) => Ok(applied),
            Err(FillError::Unpack { source, .. }) => Err(source),
            Err(FillError::Store(error)) => Err(error.into()),
            Err(FillError::Fetch { layer, .. } | FillError::Nowhere { layer }) => {
                Err(ApplyError::NoBlob(layer))
            }
        }
    }
}

/// By what an applied layer is found again: what is below it, and its content. Views change, so
/// nothing on top of one is found again.
pub(crate) fn chain(below: &[Arc<Layer>], diff_id: &Digest) -> Option<String> {
    if below.iter().any(|layer| layer.is_view()) {
        return None;
    }
    let mut chain: String = below.iter().map(|layer| format!("{}/", layer.number())).collect();
    chain.push_str(diff_id.as_str());
    Some(chain)
}

impl Inner {
    /// The layer that was applied under this chain, or is to be, if it is still there.
    pub(crate) fn applied(self: &Arc<Self>, chain: &str) -> Result<Option<Arc<Layer>>, StoreError> {
        let live = self.live().chains.get(chain).and_then(std::sync::Weak::upgrade);
        let layer = match live {
            Some(layer) => Some(layer),
            None => match self.index.chain(chain)? {
                Some(number) => self.layers(&[number])?.and_then(|mut layers| layers.pop()),
                None => None,
            },
        };
        Ok(layer.filter(|layer| layer.is_there()))
    }
}

impl Layer {
    /// Whether a blob is not the first of those that are known to hold this layer.
    pub(crate) fn is_secondary(&self, blob: &Digest) -> bool {
        self.row().blobs.first().is_some_and(|first| first.digest != *blob)
    }

    /// Notes that a blob holds this layer, and keeps it if it is here.
    pub(crate) fn add_blob(&self, descriptor: &Descriptor, blob: Option<Blob>) {
        let mut descriptor = Descriptor { platform: None, ..descriptor.clone() };
        estargz::foreign(&mut descriptor);
        let known = self.blobs().into_iter().find(|known| known.digest == descriptor.digest);
        match known {
            None => self.note(|row| row.blobs.push(descriptor)),
            Some(known) => self.annotate(&known, &descriptor),
        }
        if let Some(blob) = blob {
            self.pin(blob);
        }
    }

    /// Adds what is said now about a blob that is known, such as from where it was pulled, too.
    fn annotate(&self, known: &Descriptor, now: &Descriptor) {
        if now.annotations.keys().any(|key| !known.annotations.contains_key(key)) {
            self.note(|row| {
                let same = row.blobs.iter_mut().filter(|blob| blob.digest == now.digest);
                same.for_each(|blob| blob.annotations.extend(now.annotations.clone()));
            });
        }
    }
}

/// Raises a flag when the future that waits is gone.
#[derive(Default)]
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One extraction, to be run on a thread that may block.
pub(crate) struct Unpack {
    pub(crate) store: Arc<Inner>,
    pub(crate) below: Vec<Snapshot>,
    pub(crate) diff_id: Digest,
    pub(crate) blob: Blob,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Unpack {
    /// Makes the files of a layer.
    pub(crate) fn run(self, layer: &Layer) -> Result<(), ApplyError> {
        self.store.check_reserve()?;
        let number = self.store.new_snapshot()?;
        let extracted = self.extract(number).and_then(|whiteouts| {
            self.store.give_files(number, layer.number())?;
            layer.set_filled(whiteouts);
            Ok(())
        });
        self.store.abandon(number);
        extracted
    }

    /// Decompresses and hashes on a thread beside this one, which writes files.
    pub(crate) fn extract(&self, number: u64) -> Result<bool, ApplyError> {
        let root = self.store.layer_files(number);
        let file = self.blob.open()?;
        let bad = |source| ApplyError::Decompress { blob: self.blob.digest().clone(), source };
        let reader =
            compression::Bounded::new(compression::reader(file).map_err(bad)?, self.blob.size());
        let (sender, receiver) = sync_channel(8);
        std::thread::scope(|scope| {
            let hashing = scope.spawn(move || pump(reader, &sender));
            let meter = Meter::of(&Store { inner: self.store.clone() });
            let pipe = Pipe { receiver, meter, piece: Vec::new(), at: 0, stop: &self.stop };
            let mut extraction = Extraction::layer(&root, &self.below, self.store.user_namespace)
                .map_err(|error| self.error(error))?;
            let mut archive = Archive::new(pipe);
            while let Some(entry) = archive.next().map_err(|error| self.archive_error(error))? {
                extraction.entry(&entry, &mut archive).map_err(|error| self.error(error))?;
            }
            archive.finish().map_err(bad)?;
            let whiteouts = extraction.finish().map_err(|error| self.error(error))?.hides;
            let actual = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if actual == self.diff_id {
                return Ok(whiteouts);
            }
            let (blob, expected) = (self.blob.digest().clone(), self.diff_id.clone());
            Err(ApplyError::DiffId { blob, expected, actual })
        })
    }

    fn archive_error(&self, error: ArchiveError) -> ApplyError {
        let blob = self.blob.digest().clone();
        match error {
            ArchiveError::Read(source) => ApplyError::Decompress { blob, source },
            ArchiveError::Malformed { entry, problem } => {
                let entry = String::from_utf8_lossy(&entry).chars().take(200).collect();
                ApplyError::Entry { blob, entry, problem }
            }
        }
    }

    fn error(&self, error: ExtractError) -> ApplyError {
        match error {
            ExtractError::Archive(error) => self.archive_error(error),
            ExtractError::Store(error) => error.into(),
        }
    }
}

/// Sends decompressed pieces on until the end, an error, or nobody listens; gives their digest.
fn pump(mut reader: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) -> Digest {
    let mut hasher = Hasher::default();
    loop {
        let mut piece = vec![0; 256 << 10];
        match reader.read(&mut piece) {
            Ok(0) => return hasher.finish(),
            Ok(read) => {
                piece.truncate(read);
                hasher.update(&piece);
                if sender.send(Ok(piece)).is_err() {
                    return hasher.finish();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                sender.send(Err(error)).ok();
                return hasher.finish();
            }
        }
    }
}

/// The receiving end of [`pump`].
struct Pipe<'a> {
    receiver: Receiver<io::Result<Vec<u8>>>,
    /// What comes out of here is written.
    meter: Meter,
    piece: Vec<u8>,
    at: usize,
    stop: &'a AtomicBool,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("cancelled"));
            }
            match self.receiver.recv() {
                Ok(piece) => {
                    (self.piece, self.at) = (piece?, 0);
                    self.meter.add_blocking(self.piece.len() as u64);
                }
                Err(_) => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
