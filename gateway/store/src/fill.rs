//! Filling: a ref whose files are not here gets them when somebody wants to see them.
//!
//! [`Store::lazy`] makes a ref of descriptors; it can be kept, stacked upon and exported like any
//! other. [`Ref::files`] is the one way to its files: blobs are downloaded side by side, layers
//! unpacked in order, each of them once however many ask. A layer that is not here has a directory
//! `snapshots/<n>` without `fs`; that gets its name when it is whole, so that it is whole if it is
//! there. Who only wants the bytes of a layer asks for [`Ref::blob`].
//!
//! A layer that is not here stands on the layers below it in every ref that has it.

use std::sync::Arc;

use futures::TryStreamExt as _;
use kiln_oci::{Descriptor, Digest};
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::Store;
use crate::apply::{ApplyError, LayerBlob, StopOnDrop, Unpack, chain};
use crate::blob::{Blob, BlobError};
use crate::error::{StoreError, blocking};
use crate::index::{Change, LayerRow};
use crate::layer::{Layer, Snapshot};
use crate::provider::{BlobProvider, Cause, Requester};
use crate::refs::{Files, Ref};
use crate::stacked::Stacked;
use crate::store::Inner;

/// A blob of a layer, and who had it if that is known.
pub(crate) struct Had {
    pub(crate) blob: Blob,
    from: Option<(Descriptor, Arc<dyn BlobProvider>)>,
}

/// Why the files of a ref, or the bytes of a layer, could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// A blob could not be brought here.
    #[error("layer {layer} of {from}")]
    Fetch {
        /// The blob.
        layer: Digest,
        /// Who should have it, as people know it.
        from: String,
        /// What went wrong.
        source: Cause,
    },
    /// Nobody is known to have a blob.
    #[error("layer {layer} is not in the store, and it is not known where to get it")]
    Nowhere {
        /// The blob.
        layer: Digest,
    },
    /// A layer is not what it should be.
    #[error("cannot unpack {from}")]
    Unpack {
        /// Who had it, as people know it.
        from: String,
        /// What is wrong with it.
        source: ApplyError,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// A ref on layers that are fetched and unpacked when somebody wants to see them; bottom first.
    ///
    /// Layers that are in the store already are shared. `provider` is asked for the blobs of those
    /// that are not, unless they are stored. The ref is temporary until kept.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or written.
    pub async fn lazy(
        &self,
        layers: &[LayerBlob],
        provider: &Arc<dyn BlobProvider>,
    ) -> Result<Ref, StoreError> {
        let mut all: Vec<Arc<Layer>> = Vec::with_capacity(layers.len());
        let mut stacked = Stacked::default();
        for layer in layers {
            let top = self.lazy_layer(&all, layer, Some(provider)).await?;
            let blob = &layer.descriptor.digest;
            if top.is_secondary(blob) {
                stacked.choose(top.number(), blob.clone());
            }
            all.push(top);
        }
        Ok(Ref::stacked(&self.inner, all, stacked))
    }

    /// The layer that a blob is on top of others, with its files or without.
    pub(crate) async fn lazy_layer(
        &self,
        below: &[Arc<Layer>],
        layer: &LayerBlob,
        provider: Option<&Arc<dyn BlobProvider>>,
    ) -> Result<Arc<Layer>, StoreError> {
        let provider = provider.cloned();
        let chain = chain(below, &layer.diff_id);
        let turn = self.inner.turn("lazy layers");
        let _turn = turn.lock().await;
        let (store, layer) = (self.clone(), layer.clone());
        blocking(move || {
            let known = match &chain {
                Some(chain) => store.inner.applied(chain)?,
                None => None,
            };
            let blob = store.blob(&layer.descriptor.digest);
            let top = match known {
                Some(known) => known,
                None => {
                    let row = LayerRow {
                        diff_id: Some(layer.diff_id.clone()),
                        chain,
                        // Until one has seen them.
                        whiteouts: true,
                        lazy: true,
                        ..LayerRow::default()
                    };
                    let number = store.inner.new_place()?;
                    Layer::register_lazy(&store.inner, number, row)
                }
            };
            // The blobs of a layer that is here are named if they are here, too, or if it is another
            // one, which only somebody else has.
            let is_stored = blob.is_some();
            let is_wanted = !top.is_filled() || top.is_secondary(&layer.descriptor.digest);
            if is_stored || is_wanted {
                top.add_blob(&layer.descriptor, blob);
            }
            if let Some(provider) = provider.filter(|_| is_wanted) {
                top.add_provider(&layer.descriptor, &provider);
            }
            Ok(top)
        })
        .await
    }

    /// Brings a blob into the store, unless it is there. Those who want the same one at once share one
    /// download.
    ///
    /// # Errors
    ///
    /// [`FillError::Fetch`] if it cannot be had, or is not what its descriptor says.
    ///
    /// # Cancellation
    ///
    /// Safe at any await: what was received is removed, and the next who waits begins anew.
    pub async fn fetch(
        &self,
        blob: &Descriptor,
        provider: &dyn BlobProvider,
        requester: &Requester,
    ) -> Result<Blob, FillError> {
        let digest = &blob.digest;
        if let Some(stored) = self.blob(digest) {
            return Ok(stored);
        }
        let turn = self.inner.turn(&format!("fetch {digest}"));
        let _turn = turn.lock().await;
        if let Some(stored) = self.blob(digest) {
            return Ok(stored);
        }
        let received = self.receive(blob, provider, requester).await;
        received.map_err(|source| {
            let (layer, from) = (digest.clone(), provider.name());
            let source = self.inner.lost.judge(blob, provider, source);
            FillError::Fetch { layer, from, source }
        })
    }

    async fn receive(
        &self,
        blob: &Descriptor,
        provider: &dyn BlobProvider,
        requester: &Requester,
    ) -> Result<Blob, Cause> {
        let (digest, size) = (&blob.digest, blob.size);
        let part = requester.begin(digest.as_str(), size);
        let mut writer = self.writer().await?;
        let mut stream = provider.open(blob, requester);
        let mut received = 0;
        while let Some(chunk) = stream.try_next().await? {
            received += chunk.len() as u64;
            if received > size {
                return Err(BlobError::Size { expected: size, actual: received }.into());
            }
            writer.write_all(&chunk).await?;
            part.add(chunk.len() as u64);
        }
        Ok(writer.commit(Some(digest), Some(size)).await?)
    }

    /// A blob of a layer: one that is stored, or else one that somebody has. The layer keeps it.
    pub(crate) async fn blob_of(
        &self,
        layer: &Layer,
        requester: &Requester,
    ) -> Result<Had, FillError> {
        let (known, providers) = (layer.sources(), layer.providers());
        if let Some(blob) = known.iter().find_map(|blob| self.blob(&blob.digest)) {
            layer.pin(blob.clone());
            let from = providers.into_iter().find(|(other, _)| other.digest == *blob.digest());
            return Ok(Had { blob, from });
        }
        let mut failed = None;
        for (blob, provider) in providers {
            match self.fetch(&blob, &*provider, requester).await {
                Ok(stored) => {
                    layer.pin(stored.clone());
                    return Ok(Had { blob: stored, from: Some((blob, provider)) });
                }
                // The latest should know best.
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        let layer = known.first().map(|blob| blob.digest.clone()).or_else(|| layer.diff_id());
        let nowhere = || FillError::Nowhere { layer: layer.unwrap_or_else(|| Digest::sha256("")) };
        Err(failed.unwrap_or_else(nowhere))
    }
}

impl Ref {
    /// Its files, if all of them are here.
    pub fn ready(&self) -> Option<Files> {
        let snapshots: Option<Vec<Snapshot>> = self.layers().iter().map(Layer::snapshot).collect();
        Some(Files::new(self.clone(), snapshots?))
    }

    /// Its files: layers that are not here are fetched and unpacked first.
    ///
    /// Two callers that want the same layer at once share one extraction.
    ///
    /// # Errors
    ///
    /// [`FillError`] names the layer, and who should have had it. A later call tries again.
    ///
    /// # Cancellation
    ///
    /// Safe at any await: what is half done is removed, whole layers stay.
    pub async fn files(&self, requester: &Requester) -> Result<Files, FillError> {
        if let Some(files) = self.ready() {
            return Ok(files);
        }
        let store = Store { inner: self.inner.store.clone() };
        let downloads: Vec<_> = self
            .layers()
            .iter()
            .map(|layer| {
                let (store, layer) = (store.clone(), Arc::clone(layer));
                let requester = requester.clone();
                (!layer.is_filled()).then(|| {
                    let task = async move { store.blob_of(&layer, &requester).await };
                    AbortOnDropHandle::new(tokio::spawn(task))
                })
            })
            .collect();
        let mut snapshots: Vec<Snapshot> = Vec::with_capacity(self.layers().len());
        for (layer, download) in self.layers().iter().zip(downloads) {
            let snapshot = match (layer.snapshot(), download) {
                (Some(snapshot), _) => snapshot,
                (None, None) => store.fill(layer, &snapshots, None, requester).await?,
                (None, Some(download)) => {
                    match (download.await.map_err(|_| StoreError::Closed)?, layer.snapshot()) {
                        // Somebody else was faster.
                        (_, Some(snapshot)) => snapshot,
                        (Ok(got), None) => {
                            store.fill(layer, &snapshots, Some(got), requester).await?
                        }
                        (Err(error), None) => return Err(error),
                    }
                }
            };
            snapshots.push(snapshot);
        }
        Ok(Files::new(self.clone(), snapshots))
    }

    /// Whether its files may not be had although somebody should have them: who can do without it had
    /// better fetch them at once.
    pub fn is_doubtful(&self) -> bool {
        self.layers().iter().any(|layer| layer.is_doubtful())
    }

    /// The bytes of a layer, by the digest of a blob that is known to hold it: as stored, else fetched.
    /// Nothing is unpacked.
    ///
    /// # Errors
    ///
    /// [`FillError`] names the layer, and who should have had it.
    ///
    /// # Cancellation
    ///
    /// As [`Store::fetch`].
    pub async fn blob(&self, digest: &Digest, requester: &Requester) -> Result<Blob, FillError> {
        let store = Store { inner: self.inner.store.clone() };
        if let Some(blob) = store.blob(digest) {
            return Ok(blob);
        }
        let mut failed = FillError::Nowhere { layer: digest.clone() };
        for layer in self.layers() {
            let providers = layer.providers();
            for (blob, provider) in providers.iter().filter(|(blob, _)| blob.digest == *digest) {
                match store.fetch(blob, &**provider, requester).await {
                    Ok(stored) => {
                        layer.pin(stored.clone());
                        return Ok(stored);
                    }
                    Err(error) => failed = error,
                }
            }
        }
        Err(failed)
    }
}

impl Store {
    /// Unpacks a layer that is not here; its blob is fetched unless it is given.
    pub(crate) async fn fill(
        &self,
        layer: &Arc<Layer>,
        below: &[Snapshot],
        had: Option<Had>,
        requester: &Requester,
    ) -> Result<Snapshot, FillError> {
        let turn = self.inner.turn(&format!("fill {}", layer.number()));
        let _turn = turn.lock().await;
        if let Some(snapshot) = layer.snapshot() {
            return Ok(snapshot);
        }
        let Had { blob, from } = match had {
            Some(had) => had,
            None => self.blob_of(layer, requester).await?,
        };
        let _part = requester.begin(format!("extracting {}", blob.digest()), 0);
        let unpacked = self.unpack_layer(layer, below, blob).await;
        unpacked.map_err(|source| match (source, from) {
            (ApplyError::Store(error), _) => FillError::Store(error),
            // Whoever has bytes that are no such layer has not got the layer.
            (source, Some((blob, provider))) if provider.has_lost(&source) => {
                let source = self.inner.lost.judge(&blob, &*provider, source.into());
                FillError::Fetch { layer: blob.digest, from: provider.name(), source }
            }
            (source, from) => {
                let from = from.map(|(_, provider)| provider.name());
                FillError::Unpack { from: from.unwrap_or_else(|| "a stored layer".into()), source }
            }
        })
    }

    async fn unpack_layer(
        &self,
        layer: &Arc<Layer>,
        below: &[Snapshot],
        blob: Blob,
    ) -> Result<Snapshot, ApplyError> {
        let diff_id = layer.diff_id();
        let diff_id = diff_id.ok_or_else(|| ApplyError::NoBlob(blob.digest().clone()))?;
        let stop = StopOnDrop::default();
        let work = Unpack {
            store: self.inner.clone(),
            below: below.to_vec(),
            diff_id,
            blob,
            stop: stop.flag(),
        };
        let of = Arc::clone(layer);
        blocking(move || work.run(&of)).await?;
        self.inner.note_filled(std::slice::from_ref(layer)).await?;
        layer.snapshot().ok_or_else(|| StoreError::Closed.into())
    }
}

impl Inner {
    /// Writes down that the files of layers have come, for those that the index has.
    pub(crate) async fn note_filled(&self, layers: &[Arc<Layer>]) -> Result<(), StoreError> {
        let is_kept = |layer: &&Arc<Layer>| self.index.holds(layer.number()).unwrap_or(true);
        let kept = layers.iter().filter(|layer| layer.is_filled()).filter(is_kept);
        let note = |layer: &Arc<Layer>| {
            let whiteouts = layer.may_hide();
            Change::Filled { number: layer.number(), whiteouts }
        };
        let changes: Vec<Change> = kept.map(note).collect();
        if !changes.is_empty() {
            let freed = self.index.commit(changes).await?;
            self.consider(freed);
        }
        Ok(())
    }
}
