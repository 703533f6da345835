//! Blobs of records: files named by their digest, in a directory of their own.
//!
//! They are not in the store with the results of builds: what is collected there does not take the
//! logs of builds away, and what is remembered of builds is not counted as their results.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use kiln_oci::{Digest, Hasher};

use crate::error::HistoryError;

/// A directory of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    directory: PathBuf,
    /// Makes names for blobs that are being written.
    next: AtomicU64,
}

/// A blob on disk. It may be gone when it is opened.
#[derive(Clone, Debug)]
pub struct BlobFile {
    /// Its address.
    pub digest: Digest,
    /// How long it is, in bytes.
    pub size: u64,
    /// When it was written.
    pub written: SystemTime,
    /// Where it is. Never write there.
    pub path: PathBuf,
}

impl Blobs {
    /// The blobs in a directory; what was not written to the end is removed.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if digest_of(&entry.file_name().to_string_lossy()).is_none() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { directory, next: AtomicU64::new(0) })
    }

    /// Writes a blob from its pieces; it is there under its name only when it is whole and on disk. That
    /// it has its name outlives a crash only after [`Blobs::settle`].
    pub(crate) fn put(
        &self,
        pieces: impl Iterator<Item = impl AsRef<[u8]>>,
    ) -> Result<BlobFile, HistoryError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.directory.join(format!("unfinished-{number}"));
        let written = self.write(&unfinished, pieces);
        if written.is_err() {
            fs::remove_file(&unfinished).ok();
        }
        let (digest, size) = written.map_err(HistoryError::file("write", &unfinished))?;
        let path = self.path(&digest);
        fs::rename(&unfinished, &path).map_err(HistoryError::file("write", &path))?;
        Ok(BlobFile { digest, size, written: SystemTime::now(), path })
    }

    /// Has the names of all blobs so far on disk, which is waited for once and not for each.
    pub(crate) fn settle(&self) -> Result<(), HistoryError> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(HistoryError::file("write", &self.directory))
    }

    fn write(
        &self,
        path: &Path,
        pieces: impl Iterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<(Digest, u64)> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut writer = io::BufWriter::new(file);
        let (mut hasher, mut size) = (Hasher::default(), 0);
        for piece in pieces {
            let piece = piece.as_ref();
            hasher.update(piece);
            size += piece.len() as u64;
            writer.write_all(piece)?;
        }
        writer.into_inner()?.sync_all()?;
        Ok((hasher.finish(), size))
    }

    /// The blob of a digest, if it is there.
    pub(crate) fn get(&self, digest: &Digest) -> Option<BlobFile> {
        if digest.algorithm() != "sha256" {
            return None;
        }
        let path = self.path(digest);
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(BlobFile { digest: digest.clone(), size: metadata.len(), written, path })
    }

    /// The bytes of a blob.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, HistoryError> {
        let path = self.path(digest);
        fs::read(&path).map_err(HistoryError::file("read", &path))
    }

    /// All that are there.
    pub(crate) fn all(&self) -> io::Result<Vec<BlobFile>> {
        let names = fs::read_dir(&self.directory)?;
        let digests =
            names.filter_map(|entry| digest_of(&entry.ok()?.file_name().to_string_lossy()));
        Ok(digests.filter_map(|digest| self.get(&digest)).collect())
    }

    /// Removes a blob. What cannot be removed is removed at the next start.
    pub(crate) fn remove(&self, digest: &Digest) {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%digest, %error, "a blob of the history cannot be removed");
            }
            _ => {}
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }
}

/// The digest of the blob in a file, if it is one.
fn digest_of(name: &str) -> Option<Digest> {
    format!("sha256:{name}").parse().ok()
}
