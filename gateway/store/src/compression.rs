//! Compression of layer blobs: which there are, and how bytes go through them.
//!
//! Reading tells the format by its first bytes, never by a media type. Writing is deterministic:
//! the same bytes at the same level give the same blob, on however many threads.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use kiln_oci::{Descriptor, media_type};

use crate::estargz;

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionKind {
    /// gzip, several members in a row.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
    /// gzip with a table of contents, from which single files can be read; see [`crate::estargz`].
    Estargz,
    /// Not at all.
    Uncompressed,
}

/// What to do about the compression of layer blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// How blobs that have to be made are compressed.
    pub kind: CompressionKind,
    /// How hard; the usual level of the kind when `None` (gzip and estargz 6 of 0–12, zstd 3 of 1–22).
    pub level: Option<i32>,
    /// Whether blobs that exist in another compression are made anew.
    pub force: bool,
}

impl CompressionKind {
    /// The OCI media type of a layer compressed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip | Self::Estargz => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
            Self::Uncompressed => media_type::OCI_LAYER,
        }
    }

    /// The kind that the text of an attribute names.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "estargz" => Self::Estargz,
            "uncompressed" => Self::Uncompressed,
            _ => return None,
        })
    }

    /// The lowest and the highest level.
    pub fn levels(self) -> (i32, i32) {
        match self {
            Self::Zstd => (1, 22),
            Self::Gzip | Self::Estargz | Self::Uncompressed => (0, 12),
        }
    }

    /// The kind of a blob.
    pub(crate) fn of(blob: &Descriptor) -> Option<Self> {
        match Self::of_media_type(&blob.media_type)? {
            Self::Gzip if estargz::is_estargz(blob) => Some(Self::Estargz),
            kind => Some(kind),
        }
    }

    /// The kind a media type names, OCI's or Docker's; it does not tell estargz from gzip.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or_default().trim() {
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD => Some(Self::Zstd),
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Self::Uncompressed),
            _ => None,
        }
    }
}

/// How much any archive may unpack to, in bytes.
const UNPACKED: u64 = 100 << 30;
/// How many times its own size a larger archive may unpack to; more is no content but a trap.
const RATIO: u64 = 200;

/// What a decompressor gives, up to a bound that no archive which means well reaches: 100 GiB, and
/// 200 times its size for archives that are larger than half a gigabyte.
pub struct Bounded<R> {
    inner: R,
    most: u64,
    left: u64,
}

impl<R> Bounded<R> {
    /// Bounds what comes out of an archive of so many bytes.
    pub fn new(inner: R, size: u64) -> Self {
        let most = size.saturating_mul(RATIO).max(UNPACKED);
        Self { inner, most, left: most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {} GiB", self.most >> 30))
        })?;
        Ok(read)
    }
}

/// Reads a layer blob, decompressing what is compressed.
pub(crate) fn reader(file: File) -> io::Result<Box<dyn Read + Send>> {
    decompress(file)
}

/// Reads the tar that a layer blob was made of: of estargz without the table.
pub(crate) fn reader_without_table(mut file: File) -> io::Result<Box<dyn Read + Send>> {
    match estargz::without_table(&mut file)? {
        Some(table) => decompress(file.take(table)),
        None => decompress(file),
    }
}

fn decompress(file: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut file = BufReader::with_capacity(256 << 10, file);
    Ok(match *file.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::with_buffer(file)?)
        }
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_to_absurd_sizes_is_named() {
        let mut bounded = Bounded { left: 10, ..Bounded::new(io::repeat(0), 1) };
        let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "it unpacks to more than 100 GiB");
        assert_eq!(Bounded::new(io::empty(), 1 << 30).most, 200 << 30);
    }
}
