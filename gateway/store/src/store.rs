//! The store itself: its root directory, its lock, and what is alive in this process.
//!
//! [`Store::open`] gives the handle that everything else hangs on. Layout of the root:
//! `kiln.lock`, `metadata.redb` (with the index), `blobs/sha256/<hex>`,
//! `snapshots/<n>/{fs,work,writers}`, `ingest/` (blobs being written), `mnt/` (mount points), `empty/`,
//! `trash/` (on its way out) and `reserve` (space for deletions). The place of a layer whose files are elsewhere has no `fs`. All of it is for
//! the store's user alone. What no index row and no handle in this process names is removed in the
//! background.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kiln_handle::Handle;
use kiln_metadata::Metadata;
use rustix::fs::FlockOperation;

use crate::blob::PinnedBlob;
use crate::directory::Busy;
use crate::error::StoreError;
use crate::index::Index;
use crate::layer::Layer;
use crate::lost::Losses;
use crate::owner;
use crate::privacy;
use crate::refs::RefInner;
use crate::reserve::Reserve;
use crate::space::Space;
use crate::trash::Trash;

/// How a store behaves.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// Bytes of the disk that stay free: [`Store::prepare`] and [`Store::writer`] refuse to start
    /// anything new when less is left.
    pub reserve_bytes: u64,
    /// Whether the process lives in a user namespace without rights over the host, which decides
    /// the names of overlay attributes. Found out by itself when `None`.
    pub in_user_namespace: Option<bool>,
    /// Copy files instead of mounting overlays, which this process cannot.
    pub copy: bool,
    /// Long-lived directories to which something was still writing when it was killed are not given
    /// out again; the next one begins empty.
    pub discard_interrupted: bool,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the root.
    #[error(
        "`{root}` is in use by another process{}: stop it, or choose another root",
        .holder.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse {
        /// The root directory.
        root: PathBuf,
        /// The process id that the lock file names.
        holder: Option<u32>,
    },
    /// Its layers are written in a way that this process cannot read, or must not write.
    #[error(
        "`{root}` was filled by a daemon with other rights over this machine (in a user namespace or not), and its \
         layers cannot be used by this one: choose another root"
    )]
    OtherRights {
        /// The root directory.
        root: PathBuf,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Blobs, layers and refs of one machine. A cheap handle; clones are the same store.
///
/// The root is released when the last handle on the store and on anything in it is dropped.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) user_namespace: bool,
    pub(crate) live: Handle<Mutex<Live>>,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) space: Space,
    /// What those who should have blobs do not have.
    pub(crate) lost: Losses,
    whose: privacy::Root,
    // Order matters: the index and the trash finish their work before the lock is let go, which the
    // database holds.
    pub(crate) index: Index,
    pub(crate) trash: Trash,
    metadata: Metadata,
}

/// What handles of this process point to.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) layers: BTreeMap<u64, Weak<Layer>>,
    /// Layer directories being written, which no handle on a [`Layer`] covers yet.
    pub(crate) writing: BTreeSet<u64>,
    pub(crate) refs: BTreeMap<String, Weak<RefInner>>,
    pub(crate) blobs: BTreeMap<String, Weak<PinnedBlob>>,
    pub(crate) directories: Busy,
    /// Layers applied in this process, by parents and diff id.
    pub(crate) chains: BTreeMap<String, Weak<Layer>>,
    /// Locks of those who must not do the same thing at once, by what it is.
    pub(crate) turns: BTreeMap<String, Weak<tokio::sync::Mutex<()>>>,
    pub(crate) next_layer: u64,
    /// Uses of records not written yet: when, and how often.
    pub(crate) touched: BTreeMap<String, (u64, u64)>,
}

impl Store {
    /// Opens the store at `root`, creating it if there is none.
    ///
    /// Takes a few milliseconds however much is stored: what a crash left behind is looked for and
    /// removed in the background. An index that cannot be read is begun anew ([`Metadata::open`]); the
    /// store is then empty.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] if another process has the root open.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let whose = privacy::prepare(root)?;
        let root = root.canonicalize().map_err(|error| StoreError::io("resolve", root, error))?;
        let lock = lock(&root)?;
        let reserve = Arc::new(Reserve::of(&root));
        // Opening a database may take space, too.
        reserve.release_if_full();
        for name in ["blobs", "blobs/sha256", "snapshots", "ingest", "mnt", "trash"] {
            privacy::make_directory(&root.join(name))?;
        }
        make_empty(&root.join("empty"))?;
        privacy::close(&root, whose);
        let user_namespace = options.in_user_namespace.unwrap_or_else(owner::in_user_namespace);
        let metadata = Metadata::open(&root, Some(lock)).map_err(StoreError::from)?;
        let index = Index::open(&root, &metadata, Arc::clone(&reserve), user_namespace)?;
        if !index.claim(user_namespace)? {
            return Err(OpenError::OtherRights { root });
        }
        let trash = Trash::start(&root)?;
        let distrusted = index.distrusted.clone();
        let inner = Arc::new(Inner {
            root,
            options,
            user_namespace,
            live: Handle::default(),
            reserve,
            space: Space::default(),
            lost: Losses::default(),
            whose,
            index,
            trash,
            metadata,
        });
        inner.measure_disk();
        for number in distrusted {
            inner.trash.discard(&inner.layer_files(number));
        }
        inner.trash.sweep(&inner);
        Ok(Self { inner })
    }

    /// Opens a file in the root for whoever keeps one there, readable by this user alone; an empty
    /// one is made if there is none. Returns its path.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn private_file(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.inner.root.join(name);
        privacy::open_file(&path).map_err(|error| StoreError::io("open", &path, error))?;
        Ok(path)
    }

    /// Writes a file for this user alone that goes away with the handle, or with the next start.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn temporary_file(&self, content: &[u8]) -> Result<TemporaryFile, StoreError> {
        let path = self.inner.root.join("ingest").join(self.inner.trash.name());
        let file = TemporaryFile(path);
        let written = privacy::open_file(&file.0).and_then(|mut open| open.write_all(content));
        written.map_err(|error| StoreError::io("write", &file.0, error))?;
        Ok(file)
    }

    /// Makes a directory in the root for whoever keeps one there, for this user alone.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn private_directory(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.inner.root.join(name);
        privacy::make_directory(&path)?;
        privacy::close(&self.inner.root, self.inner.whose);
        Ok(path)
    }

    /// The database of the root, in which others keep their tables too.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// The directory everything is in.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether overlay attributes are written as `user.overlay.…` and mounts need `userxattr`.
    pub fn in_user_namespace(&self) -> bool {
        self.inner.user_namespace
    }
}

/// A file of [`Store::temporary_file`].
#[derive(Debug)]
pub struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What cannot be removed now is when the store is opened the next time.
        fs::remove_file(&self.0).ok();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.root).finish()
    }
}

impl Inner {
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of a layer; its files are in `fs` beneath.
    pub(crate) fn snapshot(&self, number: u64) -> PathBuf {
        self.root.join("snapshots").join(number.to_string())
    }

    /// The files of a layer.
    pub(crate) fn layer_files(&self, number: u64) -> PathBuf {
        let mut path = self.snapshot(number);
        path.push("fs");
        path
    }

    pub(crate) fn blob_file(&self, hex: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(hex)
    }

    /// Refuses to begin something when the disk is down to the reserve.
    pub(crate) fn check_reserve(&self) -> Result<(), StoreError> {
        let reserve = self.options.reserve_bytes;
        if reserve == 0 {
            return Ok(());
        }
        let (_, free) = self.disk()?;
        if free < reserve {
            return Err(StoreError::Reserve { root: self.root.clone(), free, reserve });
        }
        Ok(())
    }
}

/// Makes the directory that builds from nothing begin with, which all of their users may see.
fn make_empty(path: &Path) -> Result<(), StoreError> {
    privacy::make_directory(path)?;
    let everyone = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, everyone).map_err(|error| StoreError::io("open", path, error))
}

/// How often a lock is tried that no other living process holds, with a pause after each.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock of the root; it is let go when the file is closed.
fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("kiln.lock");
    let file = privacy::open_file(&path).map_err(|error| StoreError::io("open", &path, error))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // Only for people and for the message above, so a failure does not matter.
                fs::write(&path, std::process::id().to_string()).ok();
                return Ok(file);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
                if tries == LOCK_TRIES || is_another(holder) {
                    return Err(OpenError::InUse { root: root.to_owned(), holder });
                }
                // What a process forks holds its locks too, until it becomes another program.
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error) => return Err(StoreError::io("lock", &path, error).into()),
        }
    }
}

/// Whether a process lives that is not this one.
fn is_another(holder: Option<u32>) -> bool {
    holder.is_some_and(|pid| {
        pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists()
    })
}
