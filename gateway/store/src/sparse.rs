//! Files with holes: copied as they are, and written so that zeros become holes.
//!
//! A hole takes no space and is read as zeros. Nothing here changes what a file says, only what it
//! takes on disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

/// The unit in which zeros are left out, that of common file systems.
const BLOCK: u64 = 4096;
/// The pieces in which data is copied by hand.
const PIECE: usize = 256 << 10;

/// A copy of the data of a regular file, and what it was copied from.
#[derive(Debug)]
pub struct Copied {
    /// The file that was there.
    pub source: File,
    /// The new one.
    pub target: File,
}

/// A file system on which data cannot be shared, as was found out; 0 for none. Many files are copied there
/// one after the other.
static UNSHARED: AtomicU64 = AtomicU64::new(0);

/// Copies the data of a regular file into a new one, which only its owner may read.
///
/// Data is shared where the file system can, and holes stay holes.
///
/// # Errors
///
/// If there is something at `to` already, or either file fails.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<Copied> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let source = File::options().read(true).custom_flags(no_follow).open(from)?;
    let target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let metadata = source.metadata()?;
    if metadata.len() == 0 || is_shared(&source, &target, metadata.dev()) {
        return Ok(Copied { source, target });
    }
    let mut end = 0;
    for extent in Extents::of(&source, &metadata) {
        let (offset, len) = extent?;
        end = offset + copy_range(&source, &target, offset, len)?;
    }
    if end < metadata.len() {
        target.set_len(metadata.len())?;
    }
    Ok(Copied { source, target })
}

/// Shares the data of a file, which is on this device; false if that cannot be.
fn is_shared(source: &File, target: &File, device: u64) -> bool {
    if UNSHARED.load(Ordering::Relaxed) == device {
        return false;
    }
    let shared = rustix::fs::ioctl_ficlone(target, source);
    if matches!(shared, Err(Errno::OPNOTSUPP | Errno::NOTTY)) {
        UNSHARED.store(device, Ordering::Relaxed);
    }
    shared.is_ok()
}

/// Copies a range to the same place. Gives how much there was.
fn copy_range(source: &File, target: &File, offset: u64, len: u64) -> io::Result<u64> {
    let mut done = 0;
    while done < len {
        let (mut from, mut to) = (offset + done, offset + done);
        let most = usize::try_from(len - done).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), most) {
            Ok(0) => break,
            Ok(copied) => done += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
            // Not between these two files.
            Err(_) => break,
        }
    }
    if done < len {
        done += copy_by_hand(source, target, offset + done, len - done)?;
    }
    Ok(done)
}

fn copy_by_hand(source: &File, target: &File, offset: u64, len: u64) -> io::Result<u64> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(PIECE)];
    let mut done = 0;
    while done < len {
        let most = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
        let read = source.read_at(&mut buffer[..most], offset + done)?;
        if read == 0 {
            break;
        }
        target.write_all_at(&buffer[..read], offset + done)?;
        done += read as u64;
    }
    Ok(done)
}

/// Where a file has data: offset and length of each piece, in order.
pub(crate) struct Extents<'a> {
    file: &'a File,
    at: u64,
    size: u64,
    /// The file may have holes, and the file system can say where.
    holes: bool,
}

impl<'a> Extents<'a> {
    pub(crate) fn of(file: &'a File, metadata: &std::fs::Metadata) -> Self {
        let holes = metadata.blocks().saturating_mul(512) < metadata.len();
        Self { file, at: 0, size: metadata.len(), holes }
    }

    fn seek(&self, to: SeekFrom) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self.file, to) {
            Ok(offset) => Ok(Some(offset)),
            // There is nothing but a hole.
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn find(&mut self) -> io::Result<Option<(u64, u64)>> {
        if self.at >= self.size {
            return Ok(None);
        }
        if !self.holes {
            return Ok(Some((self.at, self.size)));
        }
        let Some(data) = self.seek(SeekFrom::Data(self.at))? else { return Ok(None) };
        let hole = self.seek(SeekFrom::Hole(data))?.unwrap_or(self.size);
        Ok((data < self.size).then_some((data, hole.min(self.size))))
    }
}

impl Iterator for Extents<'_> {
    type Item = io::Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.find() {
            Ok(None) => None,
            Ok(Some((start, end))) => {
                self.at = end.max(start + 1);
                Some(Ok((start, end - start)))
            }
            Err(error) => {
                self.at = self.size;
                Some(Err(error))
            }
        }
    }
}

/// Writes a new file from front to back, leaving holes where there are whole blocks of zeros.
pub(crate) struct SparseWriter {
    file: File,
    at: u64,
    /// Where the last byte that is no hole was written.
    end: u64,
}

impl SparseWriter {
    pub(crate) fn new(file: File) -> Self {
        Self { file, at: 0, end: 0 }
    }

    /// Goes on at an offset that is not before what was written.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.at = offset;
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let zeros = self.run(bytes, true);
            self.at += zeros as u64;
            bytes = &bytes[zeros..];
            let data = self.run(bytes, false);
            if data > 0 {
                self.file.write_all_at(&bytes[..data], self.at)?;
                self.at += data as u64;
                self.end = self.at;
            }
            bytes = &bytes[data..];
        }
        Ok(())
    }

    /// How many bytes the blocks have that begin here and are, or are not, zeros.
    fn run(&self, bytes: &[u8], zeros: bool) -> usize {
        let mut len = 0;
        while len < bytes.len() {
            // Up to the end of a block of the file.
            let left = BLOCK - (self.at + len as u64) % BLOCK;
            let next = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len() - len);
            if is_zero(&bytes[len..len + next]) != zeros {
                break;
            }
            len += next;
        }
        len
    }

    /// Gives the file its length.
    pub(crate) fn finish(&self, size: u64) -> io::Result<()> {
        if self.end < size { self.file.set_len(size) } else { Ok(()) }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Puts what was written on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In pieces, so that the sum needs no branch and the search ends early all the same.
    bytes.chunks(128).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn blocks(path: &Path) -> u64 {
        fs::metadata(path).unwrap().blocks() * 512
    }

    #[test]
    fn a_copy_has_the_holes_and_the_data_of_its_source() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let file = File::create(&from).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 5 << 20).unwrap();
        file.set_len(64 << 20).unwrap();
        copy_file(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(blocks(&to) < 1 << 20, "{} bytes", blocks(&to));
        assert!(copy_file(&from, &to).is_err(), "nothing is overwritten");
    }

    #[test]
    fn zeros_become_holes_wherever_they_begin() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut content = vec![0; 1 << 20];
        content[10_000..10_010].fill(1);
        content[(1 << 20) - 5000] = 2;
        let mut writer = SparseWriter::new(File::create(&path).unwrap());
        for piece in content.chunks(1000) {
            writer.write(piece).unwrap();
        }
        writer.finish(content.len() as u64).unwrap();
        assert!(fs::read(&path).unwrap() == content);
        assert!(blocks(&path) <= 16 << 10, "{} bytes", blocks(&path));
    }

    #[test]
    fn an_empty_file_and_one_that_is_a_hole_are_copied() {
        let directory = tempfile::tempdir().unwrap();
        for (name, len) in [("empty", 0), ("hole", 1 << 30)] {
            let (from, to) = (directory.path().join(name), directory.path().join(len.to_string()));
            File::create(&from).unwrap().set_len(len).unwrap();
            copy_file(&from, &to).unwrap();
            assert_eq!((fs::metadata(&to).unwrap().len(), blocks(&to)), (len, 0));
        }
    }
}
