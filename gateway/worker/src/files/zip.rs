//! Zip files as entries of an archive.

use std::fs::File;
use std::io::{self, BufReader, Read};

use kiln_store::{ArchiveEntry, UnpackError, Unpacking};
use tar::EntryType;
use zip::ZipArchive;
use zip::read::ZipFile;

/// How much a zip file may unpack to, in bytes.
const UNPACKED: u64 = 100 << 30;
/// The longest target of a symbolic link.
const LINK: u64 = 4096;

/// Writes everything a zip file has. It belongs to root, and is from 1970.
pub(super) fn unpack_zip(file: File, unpacking: &mut Unpacking) -> Result<(), UnpackError> {
    let bad = |error: zip::result::ZipError| UnpackError::Read(io::Error::other(error));
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(bad)?;
    let mut left = UNPACKED;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(bad)?;
        let mut entry = entry_of(&file);
        let size = left.checked_sub(entry.size);
        left = size.ok_or_else(|| {
            UnpackError::Read(io::Error::other(format!(
                "it unpacks to more than {} GiB",
                UNPACKED >> 30
            )))
        })?;
        if entry.kind == EntryType::Symlink {
            file.by_ref().take(LINK).read_to_end(&mut entry.link).map_err(UnpackError::Read)?;
        }
        unpacking.entry(&entry, &mut file)?;
    }
    Ok(())
}

fn entry_of<R: Read>(file: &ZipFile<'_, R>) -> ArchiveEntry {
    let (kind, mode) = match () {
        () if file.is_dir() => (EntryType::Directory, 0o755),
        () if file.is_symlink() => (EntryType::Symlink, 0o777),
        () => (EntryType::Regular, 0o644),
    };
    ArchiveEntry {
        kind,
        path: file.name().as_bytes().to_vec(),
        link: Vec::new(),
        mode: file.unix_mode().map_or(mode, |mode| mode & 0o7777),
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        device: (0, 0),
        xattrs: Vec::new(),
        size: file.size(),
        pieces: None,
    }
}
