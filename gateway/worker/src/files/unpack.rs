//! Archives that a copy unpacks: tar (plain, gzip, bzip2, xz, zstd), and zip for who asks for it.
//!
//! What a file is shows in its first bytes, never in its name: a compressed file is an archive if a
//! tar header comes out of it. The entries are written by the store, with the care it has for layers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use kiln_store::{Bounded, UnpackError, Unpacking};

use super::zip::unpack_zip;
use super::{FileError, Ids};

/// An archive that was recognised.
pub(super) struct Archive<'a> {
    /// As the user knows it.
    shown: &'a str,
    form: Form,
}

enum Form {
    Tar(Box<dyn Read>),
    Zip(File),
}

impl<'a> Archive<'a> {
    /// Opens a file; `None` if it is no archive.
    pub(super) fn open(file: &Path, shown: &'a str, zip: bool) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Io { doing: "read", path: shown.to_owned(), source };
        let mut opened = File::open(file).map_err(failed)?;
        let mut magic = Vec::new();
        opened.by_ref().take(512).read_to_end(&mut magic).map_err(failed)?;
        opened.rewind().map_err(failed)?;
        if zip && (magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06")) {
            return Ok(Some(Self { shown, form: Form::Zip(opened) }));
        }
        let size = opened.metadata().map_err(failed)?.len();
        let reader = decompress(&magic, opened).map_err(failed)?;
        let mut reader = Bounded::new(reader, size);
        let mut head = Vec::new();
        let readable = reader.by_ref().take(512).read_to_end(&mut head).is_ok();
        let is_tar = readable && is_tar_header(&head);
        let whole = Box::new(io::Cursor::new(head).chain(reader));
        Ok(is_tar.then_some(Self { shown, form: Form::Tar(whole) }))
    }

    /// Writes everything into the directory `target` of the file system at `root`. Gives the
    /// directories that no entry is about, relative to the root.
    pub(super) fn unpack(
        self,
        root: &Path,
        target: &Path,
        owner: Option<Ids>,
    ) -> Result<BTreeSet<PathBuf>, FileError> {
        let base = target.strip_prefix(root).unwrap_or(Path::new(""));
        let owner = owner.map(|owner| (owner.uid, owner.gid));
        let unpack = || {
            let mut unpacking = Unpacking::begin(root, base, owner)?;
            match self.form {
                Form::Tar(reader) => unpacking.tar(reader)?,
                Form::Zip(file) => unpack_zip(file, &mut unpacking)?,
            }
            unpacking.finish()
        };
        unpack().map_err(|error| named(self.shown, error))
    }
}

/// Says which archive it was.
fn named(shown: &str, error: UnpackError) -> FileError {
    let bad = |reason: String| FileError::Archive { archive: shown.to_owned(), reason };
    match error {
        UnpackError::Read(source) => bad(source.to_string()),
        UnpackError::Store(error) => match error {
            kiln_store::StoreError::NoSpace { .. } => FileError::Io {
                doing: "unpack",
                path: shown.to_owned(),
                source: io::ErrorKind::StorageFull.into(),
            },
            kiln_store::StoreError::Io { doing, source, .. } => {
                FileError::Io { doing, path: format!("what {shown} holds"), source }
            }
            other => bad(other.to_string()),
        },
        entry @ UnpackError::Entry { .. } => bad(entry.to_string()),
    }
}

/// What a file holds, decompressed if it is compressed.
fn decompress(magic: &[u8], file: File) -> io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(256 << 10, file);
    Ok(match magic {
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::with_buffer(file)?)
        }
        _ => Box::new(file),
    })
}

/// Whether a block is a tar header: its own sum fits, and it is not the end of an archive.
fn is_tar_header(block: &[u8]) -> bool {
    if block.len() < 512 || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block[..512]);
    let sum: u32 = block[..512]
        .iter()
        .enumerate()
        .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) })
        .sum();
    header.cksum().is_ok_and(|claimed| claimed == sum)
}

#[cfg(test)]
mod tests;
