//! Mounting: stacks of layers as one directory, in the mount namespace of this process.
//!
//! Mounts live under `mnt/` of the root and end with their guard. A view that is a plain directory
//! already needs no mount. The executor, which mounts in namespaces of its own, takes the
//! [`Overlay`] instead.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
};

use crate::copied::{self, Use};
use crate::error::StoreError;
use crate::layer::Snapshot;
use crate::store::Inner;
use crate::trash::remove_tree;

/// The longest option string that `mount(2)` takes in one page, with some room to spare.
const OPTIONS_LIMIT: usize = 4000;

/// The most layers that one overlay is made of: the kernel takes 500 directories.
const MOST_LAYERS: usize = 480;

/// How many of these layers (bottom first) are too many for one overlay. They are copied together, as one
/// directory beneath the others, whose files they share.
pub(crate) fn surplus(layers: &[Snapshot]) -> usize {
    layers.len().saturating_sub(MOST_LAYERS)
}

/// A writable directory on top of others, to be mounted with overlayfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// What is beneath, top first. If empty, `upper` alone is the whole view and can be bound.
    pub lowers: Vec<PathBuf>,
    /// What is written.
    pub upper: PathBuf,
    /// Scratch space of overlayfs, on the same file system as `upper`.
    pub work: PathBuf,
    /// The mount needs the option `userxattr`, because this is a user namespace.
    pub user_xattr: bool,
}

/// Why a view could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel refused.
    #[error("mount {layers} layers at `{target}`")]
    Mount {
        /// How many layers there are.
        layers: usize,
        /// Where they should appear.
        target: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Overlay {
    /// Mounts it at `target`, in the mount namespace of the calling thread.
    pub fn mount_at(&self, target: &Path) -> Result<(), MountError> {
        let upper = Some((self.upper.as_path(), self.work.as_path()));
        mount_overlay(&self.lowers, upper, self.user_xattr, target).map_err(|source| {
            MountError::Mount { layers: self.lowers.len() + 1, target: target.to_owned(), source }
        })
    }
}

/// A directory that shows a view while the guard lives.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    /// Mount point and helper directory that the guard made and takes away again.
    mount_point: bool,
    mask: Option<PathBuf>,
    /// A copy of the layers, which goes with the guard.
    copy: Option<PathBuf>,
    /// Layers stay as long as somebody looks at them.
    _layers: Vec<Snapshot>,
}

impl Mounted {
    /// Where the view is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A view that is a directory already.
    pub(crate) fn plain(path: PathBuf, layers: &[Snapshot]) -> Self {
        Self { path, mount_point: false, mask: None, copy: None, _layers: layers.to_vec() }
    }

    /// Copies layers (bottom first), for reading only.
    fn copied(store: &Inner, layers: &[Snapshot]) -> Result<Self, StoreError> {
        let path = store.root.join("mnt").join(store.trash.name());
        // Whatever happens, what was copied until then goes with the guard.
        let mut mounted = Self::plain(path.clone(), layers);
        mounted.copy = Some(path.clone());
        copied::copy(layers, store.user_namespace, &path, Use::Read)?;
        Ok(mounted)
    }

    /// Mounts layers (bottom first) for reading only.
    pub(crate) fn read_only(store: &Inner, layers: &[Snapshot]) -> Result<Self, MountError> {
        let empty = store.root.join("empty");
        let Some(bottom) = layers.first() else { return Ok(Self::plain(empty, layers)) };
        if store.options.copy {
            return match layers.len() == 1 && !bottom.may_hide() {
                true => Ok(Self::plain(bottom.path(), layers)),
                false => Ok(Self::copied(store, layers)?),
            };
        }
        if surplus(layers) > 0 {
            return Ok(Self::copied(store, layers)?);
        }
        let name = store.trash.name();
        let mask = mask(bottom, &store.root.join("mnt").join(format!("{name}-mask")))?;
        if layers.len() == 1 && mask.is_none() {
            return Ok(Self::plain(bottom.path(), layers));
        }
        let mut mounted = Self::point(store, &name, layers)?;
        let mut lowers: Vec<PathBuf> = layers.iter().rev().map(|layer| layer.path()).collect();
        lowers.extend(mask.clone());
        mounted.mask = mask;
        mount_overlay(&lowers, None, store.user_namespace, &mounted.path).map_err(|source| {
            mounted.mount_point = false;
            fs::remove_dir(&mounted.path).ok();
            MountError::Mount { layers: layers.len(), target: mounted.path.clone(), source }
        })?;
        Ok(mounted)
    }

    /// Mounts a writable view.
    pub(crate) fn writable(
        store: &Inner,
        overlay: &Overlay,
        layers: &[Snapshot],
    ) -> Result<Self, MountError> {
        if overlay.lowers.is_empty() {
            return Ok(Self::plain(overlay.upper.clone(), layers));
        }
        let mut mounted = Self::point(store, &store.trash.name(), layers)?;
        if let Err(error) = overlay.mount_at(&mounted.path) {
            mounted.mount_point = false;
            fs::remove_dir(&mounted.path).ok();
            return Err(error);
        }
        Ok(mounted)
    }

    /// Mounts what a writable view shows, for reading only.
    pub(crate) fn current(
        store: &Inner,
        overlay: &Overlay,
        layers: &[Snapshot],
    ) -> Result<Self, MountError> {
        if overlay.lowers.is_empty() {
            return Ok(Self::plain(overlay.upper.clone(), layers));
        }
        let mut mounted = Self::point(store, &store.trash.name(), layers)?;
        let mut shown = vec![overlay.upper.clone()];
        shown.extend(overlay.lowers.iter().cloned());
        mount_overlay(&shown, None, store.user_namespace, &mounted.path).map_err(|source| {
            mounted.mount_point = false;
            fs::remove_dir(&mounted.path).ok();
            MountError::Mount { layers: shown.len(), target: mounted.path.clone(), source }
        })?;
        Ok(mounted)
    }

    fn point(store: &Inner, name: &str, layers: &[Snapshot]) -> Result<Self, StoreError> {
        let path = store.root.join("mnt").join(name);
        fs::create_dir(&path).map_err(|error| StoreError::io("create", &path, error))?;
        Ok(Self { path, mount_point: true, mask: None, copy: None, _layers: layers.to_vec() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mount_point {
            if let Err(error) = rustix::mount::unmount(&self.path, UnmountFlags::DETACH) {
                tracing::warn!(path = %self.path.display(), %error, "not unmounted");
            }
            fs::remove_dir(&self.path).ok();
        }
        if let Some(mask) = &self.mask {
            fs::remove_dir_all(mask).ok();
        }
        if let Some(copy) = &self.copy {
            remove_tree(copy).ok();
        }
    }
}

/// Mounts overlayfs: `lowers` top first, `upper` with its work directory if it is to be writable.
fn mount_overlay(
    lowers: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    user_xattr: bool,
    target: &Path,
) -> io::Result<()> {
    // What overlayfs writes must be plain layers: no redirects, no files without content.
    let fixed: &[(&str, &str)] = if user_xattr {
        &[("index", "off")]
    } else {
        &[("index", "off"), ("metacopy", "off"), ("redirect_dir", "off")]
    };
    let escaped = |path: &Path| escape(path.as_os_str().as_bytes());
    let mut options = Vec::new();
    let mut add = |key: &str, value: &[u8]| {
        if !options.is_empty() {
            options.push(b',');
        }
        options.extend_from_slice(key.as_bytes());
        options.push(b'=');
        options.extend_from_slice(value);
    };
    let lower: Vec<Vec<u8>> = lowers.iter().map(|path| escaped(path)).collect();
    add("lowerdir", &lower.join(&b':'));
    if let Some((upper, work)) = upper {
        add("upperdir", &escaped(upper));
        add("workdir", &escaped(work));
    }
    for (key, value) in fixed {
        add(key, value.as_bytes());
    }
    if user_xattr {
        options.extend_from_slice(b",userxattr");
    }
    if options.len() > OPTIONS_LIMIT {
        return mount_long(lowers, upper, fixed, user_xattr, target);
    }
    let flags = if upper.is_some() { MountFlags::empty() } else { MountFlags::RDONLY };
    let options = CString::new(options).map_err(io::Error::other)?;
    Ok(rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str())?)
}

/// The same for many layers, one call each (Linux 6.5 and later).
fn mount_long(
    lowers: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    fixed: &[(&str, &str)],
    user_xattr: bool,
    target: &Path,
) -> io::Result<()> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &Path| rustix::mount::fsconfig_set_string(&context, key, value);
    set("source", Path::new("overlay"))?;
    for lower in lowers {
        set("lowerdir+", lower)?;
    }
    if let Some((upper, work)) = upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
    }
    for (key, value) in fixed {
        set(key, Path::new(value))?;
    }
    if user_xattr {
        rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes =
        if upper.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&mount, "", CWD, target, flags)?)
}

/// Commas, colons and backslashes mean something in an option string.
fn escape(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for &byte in path {
        if matches!(byte, b',' | b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// Makes a skeleton of empty directories to put beneath a layer that hides things but has nothing
/// below it, as the layers of a diff have.
///
/// Overlayfs filters whiteouts out of a listing only where it merges directories, so that without
/// this they would show as entries nobody can open. `None` if there is nothing to filter.
pub(crate) fn mask(layer: &Snapshot, into: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !layer.may_hide() {
        return Ok(None);
    }
    let root = layer.path();
    let mut found = false;
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let path = root.join(&directory);
        let entries = fs::read_dir(&path).map_err(|error| StoreError::io("list", &path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("list", &path, error))?;
            let kind = entry.file_type();
            let kind = kind.map_err(|error| StoreError::io("inspect", &path, error))?;
            if kind.is_dir() {
                pending.push(directory.join(entry.file_name()));
            } else if kind.is_char_device() && entry.metadata().is_ok_and(|m| m.rdev() == 0) {
                let mirror = into.join(&directory);
                fs::create_dir_all(&mirror)
                    .map_err(|error| StoreError::io("create", &mirror, error))?;
                found = true;
            }
        }
    }
    Ok(found.then(|| into.to_owned()))
}
