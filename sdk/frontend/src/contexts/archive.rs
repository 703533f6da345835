//! Archives as contexts: whether a file is one, and how old its youngest file is.

use std::io::Read;

#[cfg(not(feature = "xz"))]
use crate::Code;
use crate::FrontendError;

/// Unpacked bytes after which an archive is not read further; its times are taken as unknown.
const MOST_UNPACKED: u64 = 8 << 30;

/// Ways in which archives are packed, by how they start.
enum Packing {
    Bzip2,
    Gzip,
    Xz,
    None,
}

impl Packing {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x42, 0x5a, 0x68, ..] => Self::Bzip2,
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

/// Whether a file that starts so is an archive. Packed files are taken for archives unseen, and
/// those packed with zstd are not recognised, both as with BuildKit.
pub(super) fn is_archive(head: &[u8]) -> bool {
    match Packing::of(head) {
        Packing::None => {
            let mut archive = tar::Archive::new(head);
            let first = archive.entries().ok().and_then(|mut entries| entries.next());
            // Half of the first file is enough to see that it is one.
            matches!(first, Some(Ok(_))) && head.iter().any(|byte| *byte != 0)
        }
        _ => true,
    }
}

/// When the youngest regular file of an archive was changed, in seconds since 1970; nothing if
/// the bytes are no archive or have no such file.
///
/// # Errors
///
/// If this program was built without what unpacks the archive.
pub(super) fn youngest(bytes: &[u8]) -> Result<Option<i64>, FrontendError> {
    let unpacked: Box<dyn Read + '_> = match Packing::of(bytes) {
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Packing::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
        Packing::Xz => unpacked_xz(bytes)?,
        Packing::None => Box::new(bytes),
    };
    Ok(youngest_file(unpacked))
}

#[cfg(feature = "xz")]
fn unpacked_xz(bytes: &[u8]) -> Result<Box<dyn Read + '_>, FrontendError> {
    Ok(Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)))
}

#[cfg(not(feature = "xz"))]
fn unpacked_xz(_: &[u8]) -> Result<Box<dyn Read + 'static>, FrontendError> {
    let message = "the age of an archive that is packed with xz cannot be told by this frontend, which was \
                   built without the feature `xz`; pack it with gzip, or give the time in seconds";
    Err(FrontendError::new(Code::Unimplemented, message))
}

fn youngest_file(unpacked: impl Read) -> Option<i64> {
    let mut archive = tar::Archive::new(unpacked.take(MOST_UNPACKED));
    let mut youngest = None;
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        if entry.header().entry_type().is_file() {
            let changed = entry.header().mtime().ok()?;
            youngest = youngest.max(i64::try_from(changed).ok());
        }
    }
    youngest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(times: &[u64]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (number, time) in times.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mtime(*time);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("f{number}"), &b"abc"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_youngest_file_tells_the_age_however_the_archive_is_packed() {
        let plain = archive(&[5, 9, 7]);
        assert!(is_archive(&plain[..1024]));
        assert_eq!(youngest(&plain).unwrap(), Some(9));
        let mut packer = flate2::read::GzEncoder::new(&plain[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        packer.read_to_end(&mut packed).unwrap();
        assert!(is_archive(&packed));
        assert_eq!(youngest(&packed).unwrap(), Some(9));
    }

    #[cfg(feature = "xz")]
    #[test]
    fn archives_packed_with_xz_have_an_age() {
        let mut packed = Vec::new();
        let plain = archive(&[3, 8]);
        let mut packer = liblzma::read::XzEncoder::new(&plain[..], 0);
        packer.read_to_end(&mut packed).unwrap();
        assert_eq!(youngest(&packed).unwrap(), Some(8));
    }

    #[cfg(not(feature = "xz"))]
    #[test]
    fn who_cannot_unpack_an_archive_says_so() {
        let error = youngest(&[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]).unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().contains("feature `xz`"), "{error}");
    }

    #[test]
    fn a_text_is_no_archive() {
        for text in ["FROM alpine\n", "", &"\0".repeat(1024)] {
            assert!(!is_archive(text.as_bytes()), "{text}");
            assert_eq!(youngest(text.as_bytes()).unwrap(), None);
        }
    }
}
