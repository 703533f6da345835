//! One layer of an image, the same bytes for the same files.
//!
//! Files by their place come in, a gzipped tar goes out. Entries are sorted, owned by root, of time
//! zero, and every directory on the way has its entry.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_oci::{Digest, Hasher};

/// A file of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerFile {
    /// Permission bits.
    pub mode: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A layer's bytes and both its addresses.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The gzipped tar.
    pub bytes: Vec<u8>,
    /// The address of the tar.
    pub diff_id: Digest,
}

/// Makes a layer of `files`, whose places are absolute.
///
/// # Errors
///
/// If a place cannot be written in a tar.
pub(crate) fn build(files: &BTreeMap<PathBuf, LayerFile>) -> io::Result<Layer> {
    let gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(Hashing { inner: gzip, hasher: Hasher::default() });
    tar.mode(tar::HeaderMode::Deterministic);
    // One order for directories and files: what holds comes before what is held.
    let mut entries: BTreeMap<PathBuf, Option<&LayerFile>> =
        directories(files.keys()).into_iter().map(|path| (path, None)).collect();
    entries.extend(files.iter().map(|(path, file)| (relative(path), Some(file))));
    for (path, file) in entries {
        append(&mut tar, &path, file)?;
    }
    let Hashing { inner, hasher } = tar.into_inner()?;
    Ok(Layer { bytes: inner.finish()?, diff_id: hasher.finish() })
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &Path,
    file: Option<&LayerFile>,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    match file {
        None => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            tar.append_data(&mut header, path.join(""), io::empty())
        }
        Some(file) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(file.mode);
            header.set_size(file.bytes.len() as u64);
            tar.append_data(&mut header, path, file.bytes.as_slice())
        }
    }
}

/// All directories above the files, without the root.
fn directories<'a>(files: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    let above = |file: &PathBuf| {
        let relative = relative(file);
        relative.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>()
    };
    files.flat_map(above).filter(|path| path != Path::new("")).collect()
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
