//! Long-lived mutable directories: cache mounts, and working copies of a client's files.
//!
//! A directory has a key and survives restarts. Who asks for a key says with whom it may be shared
//! meanwhile; dropping the [`Directory`] gives it free. A [`Writer`] that never ended leaves a mark,
//! also when it ended with the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::Store;
use crate::error::{StoreError, blocking};
use crate::index::{Change, DirectoryRow};
use crate::layer::{Layer, Snapshot};
use crate::mount::{MountError, Mounted, Overlay};
use crate::privacy;
use crate::record::{Kind, Sharing, now};
use crate::refs::{Files, Ref, new_directory, new_id, overlay, rows};
use crate::store::Inner;

/// Directories in use, by id, and who waits for one.
#[derive(Default)]
pub(crate) struct Busy {
    held: BTreeMap<String, Use>,
    freed: Arc<Notify>,
}

#[derive(Clone)]
struct Use {
    held: Weak<Held>,
    sharing: Sharing,
    number: u64,
}

impl Busy {
    /// Whether a directory is in use.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.held.get(id).is_some_and(|other| other.held.strong_count() > 0)
    }

    /// Whether the files of a layer belong to a directory in use.
    pub(crate) fn contains_layer(&self, number: u64) -> bool {
        self.held.values().any(|other| other.number == number && other.held.strong_count() > 0)
    }
}

/// A long-lived directory, reserved while this handle lives.
#[derive(Clone)]
pub struct Directory {
    held: Arc<Held>,
    created: bool,
}

pub(crate) struct Held {
    id: String,
    key: String,
    number: u64,
    base: Vec<Snapshot>,
    mask: Option<PathBuf>,
    store: Arc<Inner>,
    /// Where it is mounted for all who share it.
    mounted: Mutex<Weak<Mounted>>,
}

/// Why a directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its base is a view of another mutable directory.
    #[error("directory `{0}` cannot stand on a view of another mutable directory")]
    BaseIsView(String),
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Reserves the directory of this key, making one on top of `base` if there is none to be had.
    ///
    /// A directory that stands on another base than asked for is not considered. With
    /// [`Sharing::Locked`] this waits until the directory is free; dropping the future ends the
    /// wait. The kind is what a new directory gets.
    pub async fn directory(
        &self,
        key: &str,
        kind: Kind,
        sharing: Sharing,
        base: Option<&Files>,
    ) -> Result<Directory, DirectoryError> {
        let base = base.map(Files::layers).unwrap_or_default();
        if base.iter().any(|layer| layer.is_view()) {
            return Err(DirectoryError::BaseIsView(key.to_owned()));
        }
        let freed = self.inner.live().directories.freed.clone();
        loop {
            // Registered before looking, so that no release in between is missed.
            let mut wait = std::pin::pin!(freed.notified());
            wait.as_mut().enable();
            {
                let turn = self.inner.turn(&format!("directory {key}"));
                let _turn = turn.lock().await;
                match self.inner.find(key, sharing, base)? {
                    Found::Free(held) => return Ok(self.inner.reserve(held, false)),
                    Found::Busy => {}
                    Found::Interrupted(id) => {
                        self.inner.discard_interrupted(key, id).await?;
                        continue;
                    }
                    Found::None => return self.inner.create(key, kind, sharing, base).await,
                }
            }
            wait.await;
        }
    }

    /// Forgets every directory of a key, so that the next one begins empty. One in use goes on and
    /// is deleted when it is given free.
    pub async fn forget_directory(&self, key: &str) -> Result<(), StoreError> {
        let turn = self.inner.turn(&format!("directory {key}"));
        let _turn = turn.lock().await;
        let ids = self.inner.index.directories()?.into_iter();
        let ids = ids.filter(|(_, row)| row.key == key).map(|(id, _)| id);
        let changes = ids.map(|id| Change::DeleteDirectory { id }).collect();
        let freed = self.inner.index.commit(changes).await?;
        self.inner.consider(freed);
        Ok(())
    }
}

enum Found {
    Free(Arc<Held>),
    Busy,
    /// This one is left from a writer that was killed, and must go first.
    Interrupted(String),
    None,
}

impl Inner {
    /// The lock that makes callers with the same name take turns.
    pub(crate) fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut live = self.live();
        live.turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = live.turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        live.turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn find(
        self: &Arc<Self>,
        key: &str,
        sharing: Sharing,
        base: &[Snapshot],
    ) -> Result<Found, StoreError> {
        let base_numbers: Vec<u64> = base.iter().map(|layer| layer.number()).collect();
        let mut found = Found::None;
        let mut idle = None;
        for (id, row) in self.index.directories()? {
            if row.key != key || row.base != base_numbers {
                continue;
            }
            let held = self.live().directories.held.get(&id).cloned();
            match held.and_then(|other| Some((other.held.upgrade()?, other.sharing))) {
                Some((held, Sharing::Shared)) if sharing == Sharing::Shared => {
                    return Ok(Found::Free(held));
                }
                Some(_) if sharing == Sharing::Locked => found = Found::Busy,
                Some(_) => {}
                None if self.layer_files(row.number).is_dir() => idle = idle.or(Some((id, row))),
                // Somebody removed it behind our back; a new one is made, and this row pruned.
                None => {}
            }
        }
        // With one busy and one idle, locking waits for the busy one: it is the one in use.
        match (idle, found) {
            (Some((id, row)), Found::None)
                if self.options.discard_interrupted && self.is_interrupted(row.number) =>
            {
                Ok(Found::Interrupted(id))
            }
            (Some((id, row)), Found::None) => {
                if row.size.is_some() {
                    self.index.note(vec![Change::Measure { id: id.clone(), size: None }]);
                }
                let held = self.hold(id, &row, base, sharing);
                Ok(Found::Free(held))
            }
            (_, found) => Ok(found),
        }
    }

    async fn discard_interrupted(&self, key: &str, id: String) -> Result<(), StoreError> {
        tracing::info!(key, id, "a step that wrote to this directory was killed; it is discarded");
        let freed = self.index.commit(vec![Change::DeleteDirectory { id }]).await?;
        self.consider(freed);
        Ok(())
    }

    /// Where the writers of a directory are noted, a file for each.
    fn writers(&self, number: u64) -> PathBuf {
        self.snapshot(number).join("writers")
    }

    /// Whether a writer of a directory that nobody uses was killed.
    pub(crate) fn is_interrupted(&self, number: u64) -> bool {
        fs::read_dir(self.writers(number)).is_ok_and(|mut entries| entries.next().is_some())
    }

    fn hold(
        self: &Arc<Self>,
        id: String,
        row: &DirectoryRow,
        base: &[Snapshot],
        sharing: Sharing,
    ) -> Arc<Held> {
        let mask = Some(self.snapshot(row.number).join("mask")).filter(|mask| mask.is_dir());
        let held = Arc::new(Held {
            id: id.clone(),
            key: row.key.clone(),
            number: row.number,
            base: base.to_vec(),
            mask,
            store: self.clone(),
            mounted: Mutex::default(),
        });
        let held_by = Use { held: Arc::downgrade(&held), sharing, number: row.number };
        self.live().directories.held.insert(id, held_by);
        held
    }

    fn reserve(&self, held: Arc<Held>, created: bool) -> Directory {
        self.touch(&held.id);
        Directory { held, created }
    }

    async fn create(
        self: &Arc<Self>,
        key: &str,
        kind: Kind,
        sharing: Sharing,
        base: &[Snapshot],
    ) -> Result<Directory, DirectoryError> {
        let (store, layers, key) = (self.clone(), base.to_vec(), key.to_owned());
        let (id, row, held) = blocking(move || {
            store.check_reserve()?;
            let (number, _) = new_directory(&store, &layers)?;
            let base = layers.iter().map(|layer| layer.number()).collect();
            let (created, last_used) = (now(), now());
            let row = DirectoryRow {
                key,
                number,
                base,
                kind,
                created,
                last_used,
                usage_count: 0,
                size: None,
            };
            let id = new_id();
            let held = store.hold(id.clone(), &row, &layers, sharing);
            store.live().writing.remove(&number);
            Ok::<_, StoreError>((id, row, held))
        })
        .await?;
        let layers = rows(base.iter().map(|layer| &**layer));
        self.index.commit(vec![Change::Directory { id, row, layers }]).await?;
        base.iter().for_each(|layer| layer.mark_kept());
        Ok(self.reserve(held, true))
    }
}

impl Directory {
    /// The id, as in the list of usage.
    pub fn id(&self) -> &str {
        &self.held.id
    }

    /// The key it was asked for by.
    pub fn key(&self) -> &str {
        &self.held.key
    }

    /// Whether it was made just now.
    pub fn is_new(&self) -> bool {
        self.created
    }

    /// How to mount it, for who mounts in a namespace of their own.
    pub fn overlay(&self) -> Overlay {
        self.held.overlay()
    }

    /// The directory that is written. Without a base this is the whole content.
    pub fn path(&self) -> PathBuf {
        self.overlay().upper
    }

    /// Where it is kept.
    pub(crate) fn store(&self) -> &Arc<Inner> {
        &self.held.store
    }

    /// Notes that something begins to write to it, until [`Writer::ended`].
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        let store = &self.held.store;
        let directory = store.writers(self.held.number);
        let path = directory.join(store.trash.name());
        privacy::make_directory(&directory)?;
        privacy::open_file(&path).map_err(|error| StoreError::io("create", &path, error))?;
        Ok(Writer { path, _directory: self.clone() })
    }

    /// Shows it for writing, in the mount namespace of this process. Without a base this is the
    /// directory itself.
    ///
    /// All who share it get the same mount: overlayfs does not allow another on the same files, and
    /// would not show one what was written through the other.
    pub async fn mount(&self) -> Result<Arc<Mounted>, MountError> {
        let held = self.held.clone();
        blocking(move || held.mount()).await
    }

    /// A ref that shows it as it is, and keeps it reserved while the ref lives. It cannot be kept.
    pub fn as_ref(&self) -> Ref {
        let store = &self.held.store;
        let mut layers: Vec<_> = self.held.base.iter().map(Snapshot::layer).collect();
        layers.push(Layer::view(store, self.held.number, self.clone()).layer());
        Ref::new(store, layers)
    }
}

impl Held {
    fn overlay(&self) -> Overlay {
        overlay(&self.store, self.number, &self.base, self.mask.as_deref())
    }

    fn mount(&self) -> Result<Arc<Mounted>, MountError> {
        // Held while mounting, so that two at once do not both.
        let mut known = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mounted) = known.upgrade() {
            return Ok(mounted);
        }
        let mounted = Mounted::writable(&self.store, &self.overlay(), &self.base)?;
        let mounted = Arc::new(mounted);
        *known = Arc::downgrade(&mounted);
        Ok(mounted)
    }
}

/// Something that writes to a [`Directory`]. Dropping it without [`Writer::ended`], or the end of
/// this process, leaves the directory marked as interrupted: what is in it may be half of something.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    _directory: Directory,
}

impl Writer {
    /// It has ended by itself.
    pub fn ended(self) {
        // A mark that cannot be removed costs a directory that was fine.
        fs::remove_file(&self.path).ok();
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("key", &self.key()).field("id", &self.id()).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.touch(&self.id);
        let mut live = self.store.live();
        if live.directories.held.get(&self.id).is_some_and(|other| other.held.strong_count() == 0) {
            live.directories.held.remove(&self.id);
        }
        let freed = live.directories.freed.clone();
        drop(live);
        freed.notify_waiters();
        // Forgotten meanwhile, or never written to the index: then nobody needs the files.
        self.store.consider_layer(self.number);
    }
}
