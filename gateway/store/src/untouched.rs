//! Directories and files that a layer has without saying anything: the kernel copies a directory up when
//! something is put into it, and it stays when that is removed again; likewise a file that is changed
//! back.
//!
//! A mount point that is made for a process leaves such directories behind, and a certificate that is added
//! to a bundle such a file. They are taken out where they are what the layers below have, so that a layer, and a difference between two, holds what was
//! changed and no more.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::attributes::{is_opaque, set_times, xattrs};
use crate::layer::Snapshot;

/// Larger files are not compared.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// Takes directories out of `files`, which lies on top of `below`, that are empty and as below, and files
/// that are as below.
/// `paths` says where they may be, relative to the root; whatever is above them may be such, too.
pub(crate) fn remove(files: &Path, below: &[Snapshot], paths: &[PathBuf], user_namespace: bool) {
    let above = paths.iter().flat_map(|path| path.ancestors());
    let places: BTreeSet<&Path> = above.filter(|path| is_plain(path)).collect();
    // Children come before their parents.
    for place in places.into_iter().rev() {
        let is_same = is_untouched(files, below, place, user_namespace).unwrap_or(false);
        if is_same && let Err(error) = take_out(files, place) {
            tracing::debug!(place = %place.display(), %error, "an unchanged directory stays");
        }
    }
}

/// Whether a path says nothing but names, and not only the root.
fn is_plain(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn is_untouched(
    files: &Path,
    below: &[Snapshot],
    place: &Path,
    user_namespace: bool,
) -> io::Result<bool> {
    let own = files.join(place);
    // A link on the way leads to another place.
    let is_linked = |path: &Path| path.symlink_metadata().is_ok_and(|m| !m.is_dir());
    let above = || place.ancestors().skip(1);
    if above().any(|part| is_linked(&files.join(part)))
        || above().any(|part| is_opaque(&files.join(part), user_namespace))
        || is_opaque(&own, user_namespace)
    {
        return Ok(false);
    }
    let metadata = fs::symlink_metadata(&own)?;
    if metadata.is_dir() && fs::read_dir(&own)?.next().is_some() {
        return Ok(false);
    }
    for layer in below.iter().rev() {
        let root = layer.path();
        let lower = root.join(place);
        match fs::symlink_metadata(&lower) {
            Ok(found) => {
                return Ok(is_same(&metadata, &found)
                    && xattrs(&own)? == xattrs(&lower)?
                    && (metadata.is_dir() || fs::read(&own)? == fs::read(&lower)?));
            }
            // What is below this layer may not show.
            Err(_) if is_hidden(&root, place, user_namespace) => return Ok(false),
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Whether a layer hides what those below it have at a place.
fn is_hidden(root: &Path, place: &Path, user_namespace: bool) -> bool {
    place.ancestors().any(|part| {
        let path = root.join(part);
        let is_other = path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir());
        is_other || is_opaque(&path, user_namespace)
    })
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    let facts = |m: &Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
    // Something larger is nothing that is changed back.
    let fits = b.is_dir() || b.is_file() && a.len() == b.len() && a.len() <= MAX_FILE_BYTES;
    fits && facts(a) == facts(b)
}

/// Removes a directory; the one above it has the times that it had.
fn take_out(files: &Path, place: &Path) -> io::Result<()> {
    let own = files.join(place);
    let above = own.parent().unwrap_or(files);
    let times = fs::symlink_metadata(above)?;
    match fs::symlink_metadata(&own)?.is_dir() {
        true => fs::remove_dir(&own)?,
        false => fs::remove_file(&own)?,
    }
    set_times(above, times.mtime(), times.mtime_nsec())
}
