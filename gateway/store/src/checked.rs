//! Reads blobs for who takes bytes as they come, and would take damaged ones, too.

use std::fs::File;
use std::io::{self, Read};

use kiln_oci::{Digest, Hasher};

use crate::blob::{Blob, BlobError};
use crate::error::StoreError;

/// A blob that is compared with its digest while it is read. The read that would give the last bytes
/// fails if it is another; the blob is removed then, so that it is made or fetched anew.
#[derive(Debug)]
pub struct Checked {
    blob: Blob,
    file: File,
    hasher: Hasher,
    left: u64,
}

impl Blob {
    /// Opens it for reading from the start, compared with its digest.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open_checked(&self) -> Result<Checked, StoreError> {
        let (blob, file) = (self.clone(), self.open()?);
        Ok(Checked { left: blob.size(), blob, file, hasher: Hasher::default() })
    }
}

impl Checked {
    fn check(&mut self) -> io::Result<()> {
        let actual: Digest = std::mem::take(&mut self.hasher).finish();
        if actual == *self.blob.digest() {
            return Ok(());
        }
        let damaged = BlobError::Damaged { blob: self.blob.digest().clone(), actual };
        self.blob.discard();
        Err(io::Error::new(io::ErrorKind::InvalidData, damaged))
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        if self.left == 0 || read == 0 {
            self.check()?;
        }
        Ok(read)
    }
}
