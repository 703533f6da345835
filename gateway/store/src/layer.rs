//! Layers: immutable directories in overlayfs format, and the handles that keep them.
//!
//! A layer is deleted when neither a record in the index nor a handle in this process names it. Its
//! files need not be here: of a [`Layer`] it is known what is in it and where that is to be had, and
//! only a [`Snapshot`] has a directory. How one becomes the other is in [`crate::fill`].

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use kiln_oci::{Descriptor, Digest};

use crate::blob::Blob;
use crate::directory::Directory;
use crate::estargz;
use crate::index::{Change, LayerRow};
use crate::provider::BlobProvider;
use crate::store::Inner;

/// How many places are remembered that have the blobs of a layer.
const MOST_PROVIDERS: usize = 4;

/// One immutable directory: files, whiteouts (character devices 0:0) and opaque directories (an
/// extended attribute), as overlayfs writes them. The directory may not be here yet.
pub struct Layer {
    number: u64,
    store: Arc<Inner>,
    /// Whether the directory is here, which does not change back.
    filled: AtomicBool,
    /// Who has the blobs of a layer whose directory is not here, the latest last.
    providers: Mutex<Vec<(Descriptor, Arc<dyn BlobProvider>)>>,
    /// Whether the index is known to have a row; only a hint that saves a look.
    kept: AtomicBool,
    row: Mutex<LayerRow>,
    /// Blobs that must not be collected while the layer lives.
    pins: Mutex<Vec<Blob>>,
    /// The long-lived directory this is a view of, which stays reserved meanwhile.
    view_of: Option<Directory>,
}

/// A layer whose files are here.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Layer>);

impl Snapshot {
    /// Its files. Never write there.
    pub fn path(&self) -> PathBuf {
        self.store.layer_files(self.number)
    }

    /// The layer.
    pub(crate) fn layer(&self) -> Arc<Layer> {
        Arc::clone(&self.0)
    }
}

impl Deref for Snapshot {
    type Target = Layer;

    fn deref(&self) -> &Layer {
        &self.0
    }
}

impl Layer {
    /// The number, which names its directory under `snapshots`.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The same layer, if its files are here.
    pub fn snapshot(self: &Arc<Self>) -> Option<Snapshot> {
        self.is_filled().then(|| Snapshot(Arc::clone(self)))
    }

    /// Whether its files are here.
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// The digest of its uncompressed tar, once one was read or made.
    pub fn diff_id(&self) -> Option<Digest> {
        self.row().diff_id.clone()
    }

    /// The blobs that are known to hold it, one per compression.
    pub fn blobs(&self) -> Vec<Descriptor> {
        self.row().blobs.clone()
    }

    /// Those of its blobs that hold its tar and nothing else, so that its files can be had of them.
    pub(crate) fn sources(&self) -> Vec<Descriptor> {
        let (own, mut blobs) = (self.diff_id(), self.blobs());
        blobs.retain(|blob| estargz::own_diff_id(blob, own.as_ref()).is_none());
        blobs
    }

    /// When it was made here, or became known if its files are elsewhere; the same ever after.
    pub fn made(&self) -> Option<SystemTime> {
        self.place().metadata().and_then(|metadata| metadata.modified()).ok()
    }

    /// Whether there may be whiteouts or opaque directories in it.
    pub fn may_hide(&self) -> bool {
        self.row().whiteouts
    }

    /// Whether it is a view of a directory that changes again later.
    pub fn is_view(&self) -> bool {
        self.view_of.is_some()
    }

    /// A handle on a layer that was just made, whose number is reserved by `writing`.
    pub(crate) fn register(store: &Arc<Inner>, number: u64, row: LayerRow) -> Snapshot {
        Snapshot(Self::register_any(store, number, row))
    }

    /// The same for a layer whose row says that its files are not here.
    pub(crate) fn register_lazy(store: &Arc<Inner>, number: u64, row: LayerRow) -> Arc<Self> {
        debug_assert!(row.lazy);
        Self::register_any(store, number, row)
    }

    fn register_any(store: &Arc<Inner>, number: u64, row: LayerRow) -> Arc<Self> {
        let layer = Arc::new(Self::new(store, number, row, false));
        let mut live = store.live();
        live.layers.insert(number, Arc::downgrade(&layer));
        if let Some(chain) = layer.row().chain.clone() {
            live.chains.insert(chain, Arc::downgrade(&layer));
        }
        live.writing.remove(&number);
        drop(live);
        layer
    }

    /// The handle on a layer that the index has, shared with everybody who holds it.
    pub(crate) fn shared(
        store: &Arc<Inner>,
        number: u64,
        row: impl FnOnce() -> Option<LayerRow>,
    ) -> Option<Arc<Self>> {
        if let Some(layer) = store.live().layers.get(&number).and_then(Weak::upgrade) {
            return Some(layer);
        }
        let layer = Arc::new(Self::new(store, number, row()?, true));
        let mut live = store.live();
        let other = live.layers.get(&number).and_then(Weak::upgrade);
        if other.is_none() {
            live.layers.insert(number, Arc::downgrade(&layer));
        }
        // Neither handle may be dropped under the lock, because dropping takes it.
        drop(live);
        Some(other.unwrap_or(layer))
    }

    /// A view of a directory, which nobody else shares.
    pub(crate) fn view(store: &Arc<Inner>, number: u64, directory: Directory) -> Snapshot {
        let mut layer = Self::new(store, number, LayerRow::default(), true);
        layer.view_of = Some(directory);
        Snapshot(Arc::new(layer))
    }

    fn new(store: &Arc<Inner>, number: u64, row: LayerRow, kept: bool) -> Self {
        // The directory gets its name when it is whole, so that looking for it is enough, even if
        // the row was not written any more.
        let filled = !row.lazy || store.layer_files(number).is_dir();
        Self {
            number,
            store: store.clone(),
            filled: AtomicBool::new(filled),
            providers: Mutex::default(),
            kept: AtomicBool::new(kept),
            row: Mutex::new(row),
            pins: Mutex::default(),
            view_of: None,
        }
    }

    pub(crate) fn row(&self) -> MutexGuard<'_, LayerRow> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something about the layer, in the index too if it is kept.
    pub(crate) fn note(&self, change: impl FnOnce(&mut LayerRow)) {
        let row = {
            let mut row = self.row();
            change(&mut row);
            row.clone()
        };
        if self.kept.load(Ordering::Relaxed) && !self.is_view() {
            self.store.index.note(vec![Change::Layer { number: self.number, row: Box::new(row) }]);
        }
    }

    /// Its directory, in which its files are or will be.
    pub(crate) fn place(&self) -> PathBuf {
        self.store.snapshot(self.number)
    }

    /// Whether what it should have on disk is there: its directory, or the place for it.
    pub(crate) fn is_there(&self) -> bool {
        match self.is_filled() {
            true => self.store.layer_files(self.number).is_dir(),
            false => self.store.snapshot(self.number).is_dir(),
        }
    }

    /// Notes that its files are here.
    pub(crate) fn set_filled(&self, whiteouts: bool) {
        let mut row = self.row();
        (row.lazy, row.whiteouts) = (false, whiteouts);
        drop(row);
        self.filled.store(true, Ordering::Release);
        // Another blob of it may still be asked for, by who was promised that one.
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here = |blob: &Digest| pins.iter().any(|pin| pin.digest() == blob);
        self.list_providers().retain(|(blob, _)| !is_here(&blob.digest));
    }

    /// Remembers who has a blob of it.
    pub(crate) fn add_provider(&self, blob: &Descriptor, provider: &Arc<dyn BlobProvider>) {
        let mut providers = self.list_providers();
        providers.retain(|(known, other)| {
            known.digest != blob.digest || other.name() != provider.name()
        });
        if providers.len() == MOST_PROVIDERS {
            providers.remove(0);
        }
        providers.push((blob.clone(), Arc::clone(provider)));
    }

    /// Who has its blobs, the latest first.
    pub(crate) fn providers(&self) -> Vec<(Descriptor, Arc<dyn BlobProvider>)> {
        self.list_providers().iter().rev().cloned().collect()
    }

    /// Whether its files are not here, and somebody who should have them has lost something.
    pub(crate) fn is_doubtful(&self) -> bool {
        let has_lost = |provider| self.store.lost.is_doubtful(provider);
        !self.is_filled() && self.list_providers().iter().any(|(_, provider)| has_lost(provider))
    }

    /// Whether its files are not here, and everybody who should have them has lost them.
    pub fn is_lost(&self) -> bool {
        if self.is_filled() {
            return false;
        }
        let providers = self.list_providers();
        let mut all = providers.iter();
        !providers.is_empty()
            && all.all(|(blob, provider)| self.store.lost.has_lost(provider, &blob.digest))
    }

    fn list_providers(&self) -> MutexGuard<'_, Vec<(Descriptor, Arc<dyn BlobProvider>)>> {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a blob from being collected while the layer lives.
    pub(crate) fn pin(&self, blob: Blob) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if !pins.iter().any(|pin| pin.digest() == blob.digest()) {
            pins.push(blob);
        }
    }

    pub(crate) fn mark_kept(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Makes the last handle look whether the layer is still needed.
    pub(crate) fn unkeep(&self) {
        self.kept.store(false, Ordering::Relaxed);
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if self.view_of.is_some() {
            return;
        }
        let mut live = self.store.live();
        if live.layers.get(&self.number).is_some_and(|layer| layer.strong_count() == 0) {
            live.layers.remove(&self.number);
        }
        if let Some(chain) = &self.row().chain
            && live.chains.get(chain).is_some_and(|layer| layer.strong_count() == 0)
        {
            live.chains.remove(chain);
        }
        drop(live);
        if !*self.kept.get_mut() {
            self.store.consider_layer(self.number);
        }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("number", &self.number).finish()
    }
}
