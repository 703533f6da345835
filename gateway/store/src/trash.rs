//! Removes bytes, in the background, on one thread of its own.
//!
//! Handles that are dropped tell it what may have become unneeded; it asks the index and the live
//! handles once more, moves the bytes to `trash/`, where nobody finds them, and deletes them there.
//! Nothing else in Kiln deletes stored bytes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};

use kiln_oci::Digest;
use rustix::mount::UnmountFlags;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::index::Freed;
use crate::store::Inner;

enum Task {
    /// Remove what is in `trash/`, or else out of anybody's sight.
    Remove(PathBuf),
    /// Look for what a crash left behind.
    Sweep(Weak<Inner>),
    /// Say when everything before is done.
    Settle(oneshot::Sender<()>),
}

/// The handle on the thread that removes.
///
/// Dropping it does not wait: what is in `trash/` then is removed at the next start.
pub(crate) struct Trash {
    directory: PathBuf,
    /// In front of all names this store gives in `trash`, `ingest` and `mnt`.
    token: String,
    next: AtomicU64,
    stopped: Arc<AtomicBool>,
    sender: Sender<Task>,
}

impl Trash {
    pub(crate) fn start(root: &Path) -> Result<Self, StoreError> {
        let (sender, receiver) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        std::thread::Builder::new()
            .name("kiln-trash".into())
            .spawn(move || serve(&receiver, &stop))
            .map_err(|error| StoreError::io("start the thread of", root, error))?;
        Ok(Self {
            directory: root.join("trash"),
            token: format!("{:016x}-", rand::random::<u64>()),
            next: AtomicU64::new(0),
            stopped,
            sender,
        })
    }

    /// A name that nobody had before.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.token, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Removes what a crash left behind.
    pub(crate) fn sweep(&self, store: &Arc<Inner>) {
        self.send(Task::Sweep(Arc::downgrade(store)));
    }

    /// Moves `path` out of sight at once, and deletes it later.
    pub(crate) fn discard(&self, path: &Path) {
        let aside = self.directory.join(self.name());
        match fs::rename(path, &aside) {
            Ok(()) => self.send(Task::Remove(aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // Still tried in place: a full disk may refuse a rename but not a removal.
            Err(_) => self.send(Task::Remove(path.to_owned())),
        }
    }

    /// Waits until everything discarded so far is deleted.
    pub(crate) async fn settle(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Task::Settle(done));
        wait.await.ok();
    }

    fn send(&self, task: Task) {
        // The thread lives as long as `self`, so this cannot fail.
        self.sender.send(task).ok();
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    /// Removes a layer's directory unless a handle or the index names it.
    pub(crate) fn consider_layer(&self, number: u64) {
        let live = self.live();
        if live.writing.contains(&number) || live.directories.contains_layer(number) {
            return;
        }
        if let Some(layer) = live.layers.get(&number).and_then(Weak::upgrade) {
            // Its last handle will come here again.
            layer.unkeep();
            drop(live);
            return;
        }
        // An index that cannot be read says nothing about what is unneeded.
        if self.index.holds(number).unwrap_or(true) {
            return;
        }
        self.trash.discard(&self.snapshot(number));
        drop(live);
    }

    /// Removes a layer's directory although the index names it, unless a handle does. Its rows find
    /// nothing then, which is a miss like any other.
    pub(crate) fn discard_layer(&self, number: u64) {
        let live = self.live();
        let in_use = live.writing.contains(&number)
            || live.directories.contains_layer(number)
            || live.layers.get(&number).is_some_and(|layer| layer.strong_count() > 0);
        if !in_use {
            self.trash.discard(&self.snapshot(number));
        }
        drop(live);
    }

    /// Removes a blob unless a handle or the index names it. Says whether it is gone.
    pub(crate) fn consider_blob(&self, digest: &str) -> bool {
        let Ok(digest) = digest.parse::<Digest>() else { return false };
        let live = self.live();
        let pinned = live.blobs.get(digest.as_str()).is_some_and(|pin| pin.strong_count() > 0);
        if pinned || self.index.blob_is_used(digest.as_str()).unwrap_or(true) {
            return false;
        }
        self.trash.discard(&self.blob_file(digest.hex()));
        drop(live);
        true
    }

    /// Removes what a transaction freed.
    pub(crate) fn consider(&self, freed: Freed) {
        for number in freed.layers {
            self.consider_layer(number);
        }
        for digest in freed.blobs {
            self.consider_blob(&digest);
        }
    }
}

fn serve(receiver: &Receiver<Task>, stop: &AtomicBool) {
    for task in receiver {
        match task {
            Task::Remove(_) if stop.load(Ordering::Relaxed) => {}
            Task::Remove(path) => remove(&path),
            Task::Sweep(store) => sweep(&store),
            Task::Settle(done) => {
                done.send(()).ok();
            }
        }
    }
}

fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "not removed");
        }
        _ => {}
    }
}

/// Removes a tree, also when directories in it forbid it and we are not root.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        other => return other,
    }
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

/// Removes leftovers: everything in `trash`, `ingest` and `mnt` that is not this process' own, and
/// layer directories that neither the index nor a handle names.
fn sweep(store: &Weak<Inner>) {
    let Some((root, own)) =
        store.upgrade().map(|store| (store.root.clone(), store.trash.token.clone()))
    else {
        return;
    };
    for name in ["trash", "ingest", "mnt"] {
        for path in entries(&root.join(name)) {
            if path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(&own)) {
                continue;
            }
            if name == "mnt" {
                // Only if a namespace outlived the process that made it.
                rustix::mount::unmount(&path, UnmountFlags::DETACH).ok();
                fs::remove_dir(&path).ok();
            }
            remove(&path);
        }
    }
    for path in entries(&root.join("snapshots")) {
        let Some(number) =
            path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse().ok())
        else {
            remove(&path);
            continue;
        };
        let Some(store) = store.upgrade() else { return };
        store.consider_layer(number);
    }
    // What was in the way is gone by now.
    if let Some(store) = store.upgrade() {
        store.reserve.refill();
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
