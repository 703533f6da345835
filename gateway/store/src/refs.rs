//! Refs: immutable stacks of layers, and the writable directory that becomes the next layer.
//!
//! The files of a [`Ref`] may be elsewhere; [`Files`] are those of one that are here.
//! [`Store::prepare`] gives a [`MutableRef`], [`MutableRef::commit`] turns it into a [`Ref`], and
//! [`Ref::keep`] makes that outlive the process; [`Store::load`] finds it again. Everything else is
//! deleted with its last handle.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use kiln_oci::Digest;

use crate::Store;
use crate::attributes::{copy_attributes, set_times};
use crate::copied::{self, Use};
use crate::difference;
use crate::error::{StoreError, blocking};
use crate::index::{Change, LayerRow, RecordRow};
use crate::layer::{Layer, Snapshot};
use crate::mount::{MountError, Mounted, Overlay, mask, surplus};
use crate::provider::Providers;
use crate::record::{RecordInfo, now};
use crate::stacked::Stacked;
use crate::store::Inner;
use crate::untouched;

/// An immutable stack of layers. A cheap handle; what is here of it stays while the handle lives.
///
/// Layers that nobody has looked into may not be here; [`Ref::files`] gets them.
#[derive(Clone)]
pub struct Ref {
    pub(crate) inner: Arc<RefInner>,
}

pub(crate) struct RefInner {
    pub(crate) id: String,
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) stacked: Stacked,
    pub(crate) store: Arc<Inner>,
}

/// The files of a ref, which are here. A cheap handle.
#[derive(Clone, Debug)]
pub struct Files {
    of: Ref,
    snapshots: Arc<[Snapshot]>,
}

impl Files {
    /// Of a ref, whose layers these are.
    pub(crate) fn new(of: Ref, snapshots: Vec<Snapshot>) -> Self {
        Self { of, snapshots: snapshots.into() }
    }

    /// The ref.
    pub fn of(&self) -> &Ref {
        &self.of
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The directories of the layers, top first, as overlayfs wants them.
    pub fn lowers(&self) -> Vec<PathBuf> {
        self.snapshots.iter().rev().map(Snapshot::path).collect()
    }

    /// Shows the content for reading.
    ///
    /// A single layer is its own directory, without a mount: never write there.
    pub async fn mount(&self) -> Result<Mounted, MountError> {
        let this = self.clone();
        blocking(move || Mounted::read_only(&this.of.inner.store, &this.snapshots)).await
    }
}

/// Uses of a ref within this time after a written one are not written, in milliseconds.
const TOUCH_INTERVAL: u64 = 60_000;

/// Why a writable directory could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a writable directory did not become a layer. What was written is gone then.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a ref could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It shows a long-lived directory, which changes again later.
    #[error("ref {0} is a view of a mutable directory and cannot be kept")]
    View(String),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a kept ref could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It was never kept, was pruned, or parts of it are missing on disk.
    #[error("ref {0} is not in the store")]
    NotFound(String),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Prepares a writable directory on top of `parent`, or an empty one.
    ///
    /// Nothing is copied until it is written. Dropping the [`MutableRef`] discards what was written. Where a
    /// bound on space is near, collection comes first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Reserve`] if too little of the disk is free.
    pub async fn prepare(&self, parent: Option<&Files>) -> Result<MutableRef, PrepareError> {
        self.wait_for_headroom().await;
        let (store, parent) = (self.inner.clone(), parent.cloned());
        blocking(move || {
            store.check_reserve()?;
            let parent = parent.filter(|parent| !parent.layers().is_empty());
            let layers = parent.as_ref().map(Files::layers).unwrap_or_default();
            let (number, mask) = new_directory(&store, layers)?;
            let (implied, mount_points) = (BTreeSet::new(), Vec::new());
            Ok(MutableRef { number, parent, mask, implied, mount_points, store, committed: false })
        })
        .await
    }

    /// Loads a kept ref of which everything is here, as files or at least as blobs.
    ///
    /// Looks whether its directories are there, but not into them. Notes the use, without a flush.
    ///
    /// # Errors
    ///
    /// [`LoadError::NotFound`], which a cache treats as a miss.
    pub fn load(&self, id: &str) -> Result<Ref, LoadError> {
        let found = self.find(id)?;
        let is_here = |layer: &Arc<Layer>| {
            layer.is_filled()
                || layer.sources().iter().any(|blob| self.blob(&blob.digest).is_some())
        };
        match found.layers().iter().all(is_here) {
            true => Ok(found),
            false => Err(LoadError::NotFound(id.to_owned())),
        }
    }

    /// Loads a kept ref, parts of which may be elsewhere: at those who are known to have them, or whom
    /// `providers` finds now.
    ///
    /// # Errors
    ///
    /// [`LoadError::NotFound`] if nobody is known to have a part of it; a miss, too.
    pub async fn load_lazy(&self, id: &str, providers: &dyn Providers) -> Result<Ref, LoadError> {
        let found = self.find(id)?;
        for layer in found.layers().iter().filter(|layer| !layer.is_filled()) {
            let blobs = layer.sources();
            for blob in &blobs {
                let found = providers.find(blob).await;
                found.iter().for_each(|provider| layer.add_provider(blob, provider));
            }
            let is_here = blobs.iter().any(|blob| self.blob(&blob.digest).is_some());
            // It may have been filled meanwhile, and needs nobody then.
            let is_nowhere = !is_here && layer.providers().is_empty() && !layer.is_filled();
            if is_nowhere || layer.is_lost() {
                return Err(LoadError::NotFound(id.to_owned()));
            }
        }
        Ok(found)
    }

    /// A kept ref, whoever has its parts.
    fn find(&self, id: &str) -> Result<Ref, LoadError> {
        let missing = || LoadError::NotFound(id.to_owned());
        let live = self.inner.live().refs.get(id).and_then(Weak::upgrade);
        let record = self.inner.index.record(id)?.ok_or_else(missing)?;
        self.inner.touch(id);
        if let Some(inner) = live {
            return Ok(Ref { inner });
        }
        let layers = self.inner.layers(&record.layers)?.ok_or_else(missing)?;
        if !layers.iter().all(|layer| layer.is_there()) {
            return Err(missing());
        }
        Ok(Ref::with_id(&self.inner, id.to_owned(), layers, record.stacked))
    }
}

impl Ref {
    /// The id, under which it can be loaded again once it is kept.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.inner.layers
    }

    /// The diff ids of the layers, bottom first, if all are known.
    pub fn diff_ids(&self) -> Option<Vec<Digest>> {
        self.inner.layers.iter().map(|layer| layer.diff_id()).collect()
    }

    /// How many bytes its layers take on disk; counts them the first time.
    pub async fn size(&self) -> Result<u64, StoreError> {
        let this = self.clone();
        blocking(move || {
            Ok(this.layers().iter().map(|layer| crate::usage::layer_size(layer)).sum())
        })
        .await
    }

    /// Keeps it beyond this process. When this returns, the index is on disk.
    ///
    /// Keeping again replaces kind and description. Costs one flush, shared with whoever keeps
    /// something at the same time.
    ///
    /// # Errors
    ///
    /// [`KeepError::View`] if it shows a long-lived directory.
    pub async fn keep(&self, info: RecordInfo) -> Result<(), KeepError> {
        if self.layers().iter().any(|layer| layer.is_view()) {
            return Err(KeepError::View(self.id().to_owned()));
        }
        let index = &self.inner.store.index;
        let old = index.record(self.id())?;
        let record = RecordRow {
            layers: self.layers().iter().map(|layer| layer.number()).collect(),
            kind: info.kind,
            description: info.description,
            created: old.as_ref().map_or_else(now, |old| old.created),
            last_used: now(),
            usage_count: old.map_or(1, |old| old.usage_count + 1),
            stacked: self.inner.stacked.clone(),
        };
        let layers = rows(self.layers().iter().map(|layer| &**layer));
        let was_lazy = layers.iter().any(|(_, row)| row.lazy);
        let keep = Change::Keep { id: self.id().to_owned(), record, layers };
        let mut changes = self.inner.store.touches();
        changes.push(keep);
        let freed = index.commit(changes).await?;
        self.layers().iter().for_each(|layer| layer.mark_kept());
        self.inner.store.consider(freed);
        if was_lazy {
            // Some may have been filled while the index did not know of them.
            self.inner.store.note_filled(self.layers()).await?;
        }
        Ok(())
    }

    /// Whether it was kept, and not pruned since.
    pub fn is_kept(&self) -> bool {
        matches!(self.inner.store.index.record(self.id()), Ok(Some(_)))
    }

    /// A temporary ref on layers that exist.
    pub(crate) fn new(store: &Arc<Inner>, layers: Vec<Arc<Layer>>) -> Self {
        Self::stacked(store, layers, Stacked::default())
    }

    /// The same with what is remembered of how they were put together.
    pub(crate) fn stacked(store: &Arc<Inner>, layers: Vec<Arc<Layer>>, stacked: Stacked) -> Self {
        Self::with_id(store, new_id(), layers, stacked)
    }

    fn with_id(store: &Arc<Inner>, id: String, layers: Vec<Arc<Layer>>, stacked: Stacked) -> Self {
        let inner = Arc::new(RefInner { id: id.clone(), layers, stacked, store: store.clone() });
        let mut live = store.live();
        // Two loads at once may race; both get the handle that came first.
        let first = live.refs.get(&id).and_then(Weak::upgrade);
        if first.is_none() {
            live.refs.insert(id, Arc::downgrade(&inner));
        }
        drop(live);
        Self { inner: first.unwrap_or(inner) }
    }
}

impl Drop for RefInner {
    fn drop(&mut self) {
        let mut live = self.store.live();
        if live.refs.get(&self.id).is_some_and(|other| other.strong_count() == 0) {
            live.refs.remove(&self.id);
        }
    }
}

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ref").field("id", &self.id()).field("layers", &self.layers()).finish()
    }
}

/// A writable directory on top of a ref, which [`MutableRef::commit`] turns into a layer.
///
/// Dropping it discards what was written.
pub struct MutableRef {
    number: u64,
    parent: Option<Files>,
    mask: Option<PathBuf>,
    implied: BTreeSet<PathBuf>,
    mount_points: Vec<PathBuf>,
    store: Arc<Inner>,
    committed: bool,
}

impl MutableRef {
    /// What it stands on.
    pub fn parent(&self) -> Option<&Ref> {
        self.parent.as_ref().map(Files::of)
    }

    /// How to mount it, for who mounts in a namespace of their own.
    pub fn overlay(&self) -> Overlay {
        overlay(&self.store, self.number, self.layers(), self.mask.as_deref())
    }

    /// Shows it for writing, in the mount namespace of this process.
    ///
    /// Without a parent this is the directory itself.
    pub async fn mount(&self) -> Result<Mounted, MountError> {
        let (store, overlay) = (self.store.clone(), self.overlay());
        let layers = self.layers().to_vec();
        blocking(move || Mounted::writable(&store, &overlay, &layers)).await
    }

    /// Shows what is in it now, for reading only, while somebody else may have it mounted for writing.
    /// What is written after that is seen or not.
    pub fn view(&self) -> impl Future<Output = Result<Mounted, MountError>> + Send + use<> {
        let (store, overlay) = (self.store.clone(), self.overlay());
        let layers = self.layers().to_vec();
        blocking(move || Mounted::current(&store, &overlay, &layers))
    }

    /// Takes out the directories in it that were only made so that something could be put below them,
    /// relative to the root. Whoever adds to them gives them back.
    pub fn take_implied(&mut self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.implied)
    }

    /// Says which directories these are. If there is no parent, the layer remembers it: in
    /// [`Store::merge`] such a directory does not change one of its name that is below it.
    pub fn set_implied(&mut self, implied: BTreeSet<PathBuf>) {
        self.implied = implied;
    }

    /// Says where things were mounted meanwhile, relative to the root. Directories that were only
    /// looked into for that are not part of the layer.
    pub fn set_mount_points(&mut self, mount_points: Vec<PathBuf>) {
        self.mount_points = mount_points;
    }

    /// Makes what was written a layer, on top of the parent's. The ref is temporary until kept.
    ///
    /// Nothing may have it mounted any more. A directory into which nothing was written makes a
    /// layer too, an empty one.
    pub async fn commit(mut self) -> Result<Ref, CommitError> {
        blocking(move || {
            let files = self.store.layer_files(self.number);
            if self.store.options.copy && self.parent.is_some() {
                self.take_over_differences(&files)?;
            }
            let in_user_namespace = self.store.user_namespace;
            untouched::remove(&files, self.layers(), &self.mount_points, in_user_namespace);
            let written = fs::read_dir(&files)
                .map_err(|error| StoreError::io("list", &files, error))?
                .next()
                .is_some();
            for name in ["work", "mask", "copy", "bottom"] {
                self.store.trash.discard(&self.store.snapshot(self.number).join(name));
            }
            let whiteouts = written && self.parent.is_some();
            let mut implied = BTreeSet::new();
            if self.parent.is_none() {
                implied = std::mem::take(&mut self.implied);
                // Nothing is said about the root of something empty.
                implied.insert(PathBuf::new());
            }
            let implied = implied.into_iter().filter_map(|path| path.to_str().map(Into::into));
            let implied = implied.collect();
            let row = LayerRow { whiteouts, implied, ..LayerRow::default() };
            let layer = Layer::register(&self.store, self.number, row);
            self.committed = true;
            let mut layers: Vec<_> = self.layers().iter().map(Snapshot::layer).collect();
            layers.push(layer.layer());
            let below = self.parent().map(|parent| parent.inner.stacked.clone());
            let stacked = below.unwrap_or_default().with(self.number);
            Ok(Ref::stacked(&self.store, layers, stacked))
        })
        .await
    }

    /// Puts what the copy has and the layers have not into the directory of this layer.
    fn take_over_differences(&self, files: &Path) -> Result<(), StoreError> {
        let copy = self.store.copy_of(self.number);
        difference::write_copy(self.layers(), &copy, files, self.store.user_namespace)
    }

    fn layers(&self) -> &[Snapshot] {
        self.parent.as_ref().map(Files::layers).unwrap_or_default()
    }
}

impl Drop for MutableRef {
    fn drop(&mut self) {
        if !self.committed {
            self.store.abandon(self.number);
        }
    }
}

impl std::fmt::Debug for MutableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MutableRef").field("number", &self.number).finish()
    }
}

impl Inner {
    /// Handles on layers of the index; `None` if the index lacks one.
    pub(crate) fn layers(
        self: &Arc<Self>,
        numbers: &[u64],
    ) -> Result<Option<Vec<Arc<Layer>>>, StoreError> {
        let mut layers = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let mut error = None;
            let row = || {
                self.index.layer(number).unwrap_or_else(|e| {
                    error = Some(e);
                    None
                })
            };
            match (Layer::shared(self, number, row), error) {
                (Some(layer), _) => layers.push(layer),
                (None, Some(error)) => return Err(error),
                (None, None) => return Ok(None),
            }
        }
        Ok(Some(layers))
    }

    /// Makes `snapshots/<n>/fs` with a number nobody has, protected until [`Inner::abandon`] or
    /// [`Layer::register`].
    pub(crate) fn new_snapshot(&self) -> Result<u64, StoreError> {
        let number = self.new_place()?;
        let path = self.layer_files(number);
        match make_root(&path) {
            Ok(()) => Ok(number),
            Err(error) => {
                self.abandon(number);
                Err(StoreError::io("create", &path, error))
            }
        }
    }

    /// Gives the files of one snapshot to another that has none. If that has some already, they are
    /// the same.
    pub(crate) fn give_files(&self, from: u64, to: u64) -> Result<(), StoreError> {
        let (place, target) = (self.snapshot(to), self.layer_files(to));
        // The layer is as old as it was; see Layer::made.
        let made = place.metadata().map_err(|error| StoreError::io("inspect", &place, error))?;
        match fs::rename(self.layer_files(from), &target) {
            Err(_) if target.is_dir() => return Ok(()),
            Err(error) => return Err(StoreError::io("name", &target, error)),
            Ok(()) => {}
        }
        set_times(&place, made.mtime(), made.mtime_nsec())
            .map_err(|error| StoreError::io("set times of", &place, error))
    }

    /// Makes `snapshots/<n>`, the place for the files of a layer; otherwise as
    /// [`Inner::new_snapshot`].
    pub(crate) fn new_place(&self) -> Result<u64, StoreError> {
        loop {
            let number = {
                let mut live = self.live();
                let number = live.next_layer.max(1);
                live.next_layer = number + 1;
                live.writing.insert(number);
                number
            };
            let path = self.snapshot(number);
            // A directory that got lost does not give its number free.
            if self.index.holds(number)? {
                self.live().writing.remove(&number);
                continue;
            }
            match fs::create_dir(&path) {
                Ok(()) => return Ok(number),
                Err(error) => {
                    self.live().writing.remove(&number);
                    if error.kind() == std::io::ErrorKind::AlreadyExists {
                        self.skip_numbers();
                        continue;
                    }
                    self.consider_layer(number);
                    return Err(StoreError::io("create", &path, error));
                }
            }
        }
    }

    /// Where a layer that cannot be mounted on others is written instead, together with them.
    pub(crate) fn copy_of(&self, number: u64) -> PathBuf {
        self.snapshot(number).join("copy")
    }

    /// Where the layers are copied together that are too many beneath something writable.
    fn bottom_of(&self, number: u64) -> PathBuf {
        self.snapshot(number).join("bottom")
    }

    /// Goes past every number that has a directory; happens once per process.
    fn skip_numbers(&self) {
        let highest = fs::read_dir(self.root.join("snapshots"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
            .max()
            .unwrap_or(0);
        let mut live = self.live();
        live.next_layer = live.next_layer.max(highest + 1);
    }

    /// Gives up a directory of [`Inner::new_snapshot`].
    pub(crate) fn abandon(&self, number: u64) {
        self.live().writing.remove(&number);
        self.consider_layer(number);
    }

    /// Notes a use, to be written with the next change.
    pub(crate) fn touch(&self, id: &str) {
        let mut live = self.live();
        let (at, times) = live.touched.entry(id.to_owned()).or_default();
        *at = now();
        *times += 1;
    }

    /// Whether a use is much later than the last one that was written. A build that is repeated all
    /// the time must not write to the disk each time.
    fn is_worth_noting(&self, change: &Change) -> bool {
        let Change::Touch { id, at, .. } = change else { return true };
        match self.index.record(id) {
            Ok(Some(row)) => at.saturating_sub(row.last_used) > TOUCH_INTERVAL,
            _ => true,
        }
    }

    /// Takes the noted uses, to be written.
    pub(crate) fn touches(&self) -> Vec<Change> {
        let touched = std::mem::take(&mut self.live().touched);
        let change = |(id, (at, times))| Change::Touch { id, at, times };
        touched.into_iter().map(change).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut touches = self.touches();
        touches.retain(|change| self.is_worth_noting(change));
        if !touches.is_empty() {
            self.index.note(touches);
        }
    }
}

/// Makes the directory that a layer is, which builds see as `/`, with the usual mode whatever the
/// mask of this process.
fn make_root(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The rows to write if the index lacks them.
pub(crate) fn rows<'a>(layers: impl Iterator<Item = &'a Layer>) -> Vec<(u64, LayerRow)> {
    layers.map(|layer| (layer.number(), layer.row().clone())).collect()
}

/// Makes the directories of something writable on top of `layers`: its number, and its mask.
pub(crate) fn new_directory(
    store: &Arc<Inner>,
    layers: &[Snapshot],
) -> Result<(u64, Option<PathBuf>), StoreError> {
    let number = store.new_snapshot()?;
    let fill = || -> Result<Option<PathBuf>, StoreError> {
        let work = store.snapshot(number).join("work");
        fs::create_dir(&work).map_err(|error| StoreError::io("create", &work, error))?;
        // The upper directory's own attributes are those of the merged root.
        let Some(top) = layers.last() else { return Ok(None) };
        if store.options.copy {
            copied::copy(layers, store.user_namespace, &store.copy_of(number), Use::Write)?;
        }
        let files = store.layer_files(number);
        copy_attributes(&top.path(), &files)
            .map_err(|error| StoreError::io("set attributes of", &files, error))?;
        let surplus = surplus(layers);
        if surplus > 0 && !store.options.copy {
            let bottom = store.bottom_of(number);
            copied::copy(&layers[..surplus], store.user_namespace, &bottom, Use::Read)?;
            return Ok(None);
        }
        mask(&layers[0], &store.snapshot(number).join("mask"))
    };
    fill().map(|mask| (number, mask)).inspect_err(|_| store.abandon(number))
}

/// How to mount something writable. Where overlays cannot be mounted it is a directory already.
pub(crate) fn overlay(
    store: &Inner,
    number: u64,
    layers: &[Snapshot],
    mask: Option<&Path>,
) -> Overlay {
    if store.options.copy && !layers.is_empty() {
        return Overlay {
            lowers: Vec::new(),
            upper: store.copy_of(number),
            work: store.snapshot(number).join("work"),
            user_xattr: store.user_namespace,
        };
    }
    let surplus = surplus(layers);
    let bottom = (surplus > 0).then(|| store.bottom_of(number));
    let lowers = layers[surplus..].iter().rev().map(|layer| layer.path());
    Overlay {
        lowers: lowers.chain(bottom).chain(mask.map(Path::to_owned)).collect(),
        upper: store.layer_files(number),
        work: store.snapshot(number).join("work"),
        user_xattr: store.user_namespace,
    }
}

/// A random id: 25 digits in base 36, as BuildKit's.
pub(crate) fn new_id() -> String {
    let mut number: u128 = rand::random();
    let mut digit = || {
        let digit = (number % 36) as u8;
        number /= 36;
        char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 })
    };
    (0..25).map(|_| digit()).collect()
}
