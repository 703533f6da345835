//! Layer blobs of a ref: those that exist are reused, the others are made.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Hasher};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Store;
use crate::apply::LayerBlob;
use crate::blob::{Blob, BlobError, BlobSink};
use crate::compression::{self, Compression, CompressionKind};
use crate::compressor::{Compressor, threads};
use crate::error::{StoreError, blocking};
use crate::estargz::{self, Unfit, Written};
use crate::fill::FillError;
use crate::layer::Layer;
use crate::pack::{Packer, PackerError, is_later};
use crate::provider::Requester;
use crate::refs::Ref;

/// How far the making of layer blobs has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// Which layer, 0 being the bottom.
    pub layer: usize,
    /// How many layers there are.
    pub layers: usize,
    /// Bytes of tar read so far; 0 for a blob that existed.
    pub bytes: u64,
    /// Whether the blob of this layer is complete.
    pub done: bool,
}

/// Why layer blobs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A blob that was to be compressed otherwise cannot be read.
    #[error("layer blob {blob} cannot be decompressed")]
    Decompress {
        /// The blob.
        blob: Digest,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A blob that was to be compressed otherwise holds another tar than it should.
    #[error("layer blob {blob} holds a tar with digest {actual}, expected {expected}")]
    DiffId {
        /// The blob.
        blob: Digest,
        /// The digest of the tar that it should hold.
        expected: Digest,
        /// The digest of the one that it holds.
        actual: Digest,
    },
    /// A file that would delete another one where the layer is unpacked.
    #[error(
        "`{path}` cannot be stored in an image: in layers a name that begins with `.wh.` deletes \
         the file without the prefix, so rename it, remove it, or export files instead of an image"
    )]
    Whiteout {
        /// The file.
        path: String,
    },
    /// A layer that the wanted compression cannot hold.
    #[error("{problem}")]
    Unfit {
        /// What is wrong with it, and what to do instead.
        problem: String,
    },
    /// A layer is not here and could not be had.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A blob that was made.
struct Packed {
    blob: Blob,
    /// What it is beside the tar of the layer.
    written: Option<Written>,
}

/// A blob that was made of a tar with this digest, and what it is.
fn named(packed: Packed, compression: Compression, tar: Digest) -> (Blob, LayerBlob) {
    let Packed { blob, written } = packed;
    let media_type = compression.kind.media_type();
    let mut descriptor = Descriptor::new(media_type, blob.digest().clone(), blob.size());
    let Some(written) = written else { return (blob, LayerBlob { descriptor, diff_id: tar }) };
    written.annotate(&mut descriptor);
    (blob, LayerBlob { descriptor, diff_id: written.diff_id().clone() })
}

/// Names why a layer cannot be compressed as it should be, which came through a writer.
fn name_unfit(error: PackError) -> PackError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(unfit) = inner.and_then(|inner| inner.downcast_ref::<Unfit>()) {
            return PackError::Unfit { problem: unfit.to_string() };
        }
        cause = at.source();
    }
    error
}

/// How layers are packed.
#[derive(Clone, Copy)]
struct Pack {
    compression: Compression,
    /// The latest time, in seconds since 1970.
    clamp: Option<i64>,
}

impl From<PackerError> for PackError {
    fn from(error: PackerError) -> Self {
        match error {
            PackerError::Whiteout(path) => Self::Whiteout { path: format!("/{}", path.display()) },
            PackerError::Store(error) => Self::Store(error),
        }
    }
}

impl Store {
    /// The layer blobs of a ref, bottom first, one per layer.
    ///
    /// A blob that exists is taken, in the wanted compression if there is one, and in any other
    /// unless `force`. A missing one is made from the layer's directory: entries sorted, numeric
    /// owners, whole seconds, so that the same directory always gives the same digest. What was
    /// made is noted with the layer, and the next call is a look-up.
    ///
    /// The blobs stay at least as long as the ref, or the record it was kept as. That of a layer whose
    /// files are not here need not be here, if somebody has it: [`Ref::blob`] gets its bytes. It is
    /// fetched, for the requester, only to be compressed otherwise.
    pub async fn layer_blobs(
        &self,
        r: &Ref,
        compression: Compression,
        requester: &Requester,
        progress: &(dyn Fn(LayerProgress) + Send + Sync),
    ) -> Result<Vec<LayerBlob>, PackError> {
        let pack = Pack { compression, clamp: None };
        self.pack_layers(r, 0, pack, requester, progress).await
    }

    /// The same for the layers from number `from` on, with all times later than `epoch_seconds` set to
    /// it, for reproducible images.
    ///
    /// These blobs are not noted with the layers; they stay while `r` lives. gzip is written as Go, and with it
    /// BuildKit, writes it. A layer in which nothing is later is given as
    /// [`Store::layer_blobs`] gives it.
    pub async fn clamped_layer_blobs(
        &self,
        r: &Ref,
        from: usize,
        compression: Compression,
        epoch_seconds: i64,
        requester: &Requester,
        progress: &(dyn Fn(LayerProgress) + Send + Sync),
    ) -> Result<Vec<LayerBlob>, PackError> {
        let layers = r.layers().get(from..).unwrap_or_default();
        if layers.iter().any(|layer| !layer.is_filled()) {
            r.files(requester).await?;
        }
        let pack = Pack { compression, clamp: Some(epoch_seconds) };
        self.pack_layers(r, from, pack, requester, progress).await
    }

    /// The layer blobs of a ref, if all of them exist as [`Store::layer_blobs`] would give them.
    pub fn known_layer_blobs(&self, r: &Ref, compression: Compression) -> Option<Vec<LayerBlob>> {
        r.layers().iter().map(|layer| self.existing(layer, chosen(r, layer), compression)).collect()
    }

    /// The digest of the tar that a layer blob holds, for layers of which no one says it. Reads all of
    /// it.
    ///
    /// # Errors
    ///
    /// If the blob cannot be read or decompressed.
    pub async fn diff_id(&self, blob: &Blob) -> Result<Digest, PackError> {
        let blob = blob.clone();
        blocking(move || {
            let bad = |source| PackError::Decompress { blob: blob.digest().clone(), source };
            let reader = compression::reader(blob.open()?).map_err(bad)?;
            let mut reader = compression::Bounded::new(reader, blob.size());
            let mut hasher = Hasher::default();
            let mut buffer = vec![0; 256 << 10];
            loop {
                match io::Read::read(&mut reader, &mut buffer).map_err(bad)? {
                    0 => return Ok(hasher.finish()),
                    read => hasher.update(&buffer[..read]),
                }
            }
        })
        .await
    }

    async fn pack_layers(
        &self,
        r: &Ref,
        from: usize,
        pack: Pack,
        requester: &Requester,
        progress: &(dyn Fn(LayerProgress) + Send + Sync),
    ) -> Result<Vec<LayerBlob>, PackError> {
        let Pack { compression, clamp } = pack;
        let all = r.layers().get(from..).unwrap_or_default();
        let layers = all.len();
        let mut blobs: Vec<Option<LayerBlob>> = vec![None; layers];
        // Most calls are look-ups, which need no task.
        if clamp.is_none() {
            for (at, layer) in all.iter().enumerate() {
                if let Some(blob) = self.existing(layer, chosen(r, layer), compression) {
                    progress(LayerProgress { layer: at, layers, bytes: 0, done: true });
                    blobs[at] = Some(blob);
                }
            }
        }
        let (sender, mut reports) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(threads()));
        let mut tasks = JoinSet::new();
        for (at, layer) in all.iter().enumerate().filter(|(at, _)| blobs[*at].is_none()) {
            let (store, layer, turns) = (self.clone(), layer.clone(), turns.clone());
            let (requester, wanted) = (requester.clone(), chosen(r, &layer).cloned());
            let report = Report { sender: sender.clone(), layer: at, layers, bytes: 0, told: 0 };
            tasks.spawn(async move {
                let _permit = turns.acquire_owned().await.map_err(|_| StoreError::Closed)?;
                // Two exports at once make a blob once.
                let turn = store.inner.turn(&format!("pack {}", layer.number()));
                let _turn = turn.lock().await;
                if !layer.is_filled() {
                    store.blob_of(&layer, &requester).await?;
                }
                let work = move || store.pack_layer(&layer, wanted.as_ref(), pack, report);
                blocking(work).await.map(|blob| (at, blob))
            });
        }
        drop(sender);
        while let Some(report) = reports.recv().await {
            progress(report);
        }
        while let Some(result) = tasks.join_next().await {
            let (at, blob) = result.map_err(|_| StoreError::Closed)??;
            blobs[at] = Some(blob);
        }
        Ok(blobs.into_iter().flatten().collect())
    }

    /// The blob that serves a layer as it is, `wanted` before others of its kind. Of a layer whose files
    /// are not here, one that somebody has will do.
    fn existing(
        &self,
        layer: &Layer,
        wanted: Option<&Digest>,
        compression: Compression,
    ) -> Option<LayerBlob> {
        let diff_id = layer.diff_id()?;
        let blobs = layer.blobs();
        let is_exact = |blob: &Descriptor| CompressionKind::of(blob) == Some(compression.kind);
        let is_wanted = |blob: &Descriptor| wanted == Some(&blob.digest);
        let mut fitting: Vec<&Descriptor> =
            blobs.iter().filter(|blob| is_exact(blob) || !compression.force).collect();
        fitting.sort_by_key(|blob| (!is_exact(blob), !is_wanted(blob)));
        let named = |descriptor: &Descriptor| LayerBlob {
            descriptor: descriptor.clone(),
            diff_id: estargz::own_diff_id(descriptor, Some(&diff_id))
                .unwrap_or_else(|| diff_id.clone()),
        };
        let providers = layer.providers();
        let is_elsewhere =
            |blob: &Descriptor| providers.iter().any(|(known, _)| known.digest == blob.digest);
        let first = fitting.first().filter(|blob| is_wanted(blob) && is_elsewhere(blob));
        let stored = fitting.iter().find_map(|blob| Some((*blob, self.blob(&blob.digest)?)));
        match (first, stored) {
            // Another one that is here says the same, but it is not the one that was promised.
            (Some(first), Some((stored, _))) if first.digest != stored.digest => Some(named(first)),
            (_, Some((descriptor, blob))) => {
                layer.pin(blob);
                Some(named(descriptor))
            }
            (_, None) => fitting.into_iter().find(|blob| is_elsewhere(blob)).map(named),
        }
    }

    fn pack_layer(
        &self,
        layer: &Arc<Layer>,
        wanted: Option<&Digest>,
        pack: Pack,
        mut report: Report,
    ) -> Result<LayerBlob, PackError> {
        let Pack { compression, clamp } = pack;
        let snapshot = layer.snapshot();
        let clamp = match (clamp, &snapshot) {
            (Some(latest), Some(snapshot)) if is_later(&snapshot.path(), latest)? => Some(latest),
            _ => None,
        };
        if clamp.is_none()
            && let Some(blob) = self.existing(layer, wanted, compression)
        {
            report.finish();
            return Ok(blob);
        }
        let own = layer.diff_id();
        let old = layer.blobs().into_iter().find_map(|known| {
            // What was added here to the tar of the layer does not belong to it.
            let is_own = estargz::own_diff_id(&known, own.as_ref()).is_none();
            Some((self.blob(&known.digest)?, is_own))
        });
        let (packed, diff_id) = match (old.filter(|_| clamp.is_none()), layer.diff_id()) {
            // Compressed anew rather than packed anew, so that the diff id stays.
            (Some((old, is_own)), Some(diff_id)) => {
                let whole = is_own && compression.kind != CompressionKind::Estargz;
                let (packed, tar) = self.recompress(&old, whole, compression, &mut report)?;
                // What has a table is another tar without it.
                if tar != diff_id && (whole || !is_own) {
                    let (blob, actual) = (old.digest().clone(), tar);
                    old.discard();
                    return Err(PackError::DiffId { blob, expected: diff_id, actual });
                }
                (packed, diff_id)
            }
            _ => {
                let nowhere = || FillError::Nowhere { layer: Digest::sha256("") };
                let root = snapshot.ok_or_else(nowhere)?.path();
                self.pack_tree(&root, Pack { compression, clamp }, &mut report)?
            }
        };
        let (blob, named) = named(packed, compression, diff_id.clone());
        layer.pin(blob);
        if clamp.is_none() && !layer.is_view() {
            layer.note(|row| {
                // A layer whose blobs were lost may be packed with another diff id.
                if row.diff_id.as_ref() != Some(&diff_id) {
                    row.blobs.clear();
                    row.diff_id = Some(diff_id.clone());
                }
                row.blobs.push(named.descriptor.clone());
            });
        }
        report.finish();
        Ok(named)
    }

    /// Packs files that are no layer.
    pub(crate) fn pack_files(
        &self,
        root: &Path,
        compression: Compression,
    ) -> Result<(Blob, LayerBlob), PackError> {
        let (sender, _) = mpsc::unbounded_channel();
        let mut report = Report { sender, layer: 0, layers: 1, bytes: 0, told: 0 };
        let (packed, diff_id) =
            self.pack_tree(root, Pack { compression, clamp: None }, &mut report)?;
        Ok(named(packed, compression, diff_id))
    }

    /// A blob of a tree, and the digest of its tar.
    fn pack_tree(
        &self,
        root: &Path,
        pack: Pack,
        report: &mut Report,
    ) -> Result<(Packed, Digest), PackError> {
        // Who asks for times that can be made again wants the bytes that others make, too.
        let tee = self.tee(pack.compression, pack.clamp.is_some(), report)?;
        let packer = Packer::new(root, self.inner.user_namespace, pack.clamp, tee);
        packer.pack().map_err(PackError::from).map_err(name_unfit)?.finish()
    }

    fn recompress(
        &self,
        old: &Blob,
        whole: bool,
        compression: Compression,
        report: &mut Report,
    ) -> Result<(Packed, Digest), PackError> {
        let bad = |source| PackError::Decompress { blob: old.digest().clone(), source };
        let reader = match whole {
            true => compression::reader(old.open()?),
            false => compression::reader_without_table(old.open()?),
        };
        let mut reader = reader.map_err(bad)?;
        let mut tee = self.tee(compression, false, report)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = reader.read(&mut buffer).map_err(bad)?;
            if read == 0 {
                return tee.finish();
            }
            let written = tee.write_all(&buffer[..read]);
            let failed = |error| StoreError::io("writing blob", self.root(), error);
            written.map_err(|error| name_unfit(failed(error).into()))?;
        }
    }

    fn tee<'a>(
        &'a self,
        compression: Compression,
        like_go: bool,
        report: &'a mut Report,
    ) -> Result<Tee<'a>, StoreError> {
        let compressor = Compressor::new(compression, like_go, self.sink()?)
            .map_err(|error| StoreError::io("compress into", self.root(), error))?;
        Ok(Tee { store: self, compressor, hasher: Hasher::default(), report })
    }
}

/// The blob of a layer that a ref was made of, if it has several.
fn chosen<'a>(r: &'a Ref, layer: &Layer) -> Option<&'a Digest> {
    r.inner.stacked.blob(layer.number())
}

/// Hashes a tar while it is compressed.
struct Tee<'a> {
    store: &'a Store,
    compressor: Compressor<BlobSink>,
    hasher: Hasher,
    report: &'a mut Report,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.compressor.write_all(bytes)?;
        self.hasher.update(bytes);
        self.report.add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tee<'_> {
    fn finish(self) -> Result<(Packed, Digest), PackError> {
        let root = self.store.root();
        let finished = self.compressor.finish();
        let failed = |error| StoreError::io("writing blob", root, error);
        let (sink, written) = finished.map_err(|error| name_unfit(failed(error).into()))?;
        let blob = sink.commit(None, None).map_err(|error| match error {
            BlobError::Store(error) => error,
            other => StoreError::io("writing blob", root, io::Error::other(other)),
        })?;
        Ok((Packed { blob, written }, self.hasher.finish()))
    }
}

/// Tells of the progress of one layer, every few MiB.
struct Report {
    sender: UnboundedSender<LayerProgress>,
    layer: usize,
    layers: usize,
    bytes: u64,
    told: u64,
}

impl Report {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes - self.told >= 4 << 20 {
            self.tell(false);
        }
    }

    fn finish(&mut self) {
        self.tell(true);
    }

    fn tell(&mut self, done: bool) {
        self.told = self.bytes;
        let Self { layer, layers, bytes, .. } = *self;
        // Nobody listens any more when the export was given up.
        self.sender.send(LayerProgress { layer, layers, bytes, done }).ok();
    }
}
