//! The bytes of an answer, as the file has them: a server may compress them on the way.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Undoes what the server did to the content.
pub(crate) enum Decoding {
    /// Nothing.
    Plain,
    /// It was compressed with gzip.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Decoding {
    /// Undoes what the Content-Encoding says, if it is what was asked for.
    pub(crate) fn of(content_encoding: &str) -> Self {
        match content_encoding.trim().eq_ignore_ascii_case("gzip") {
            true => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            false => Self::Plain,
        }
    }

    /// Takes the next bytes, and gives those of the content that can be told now.
    pub(crate) fn decode(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(bytes),
            Self::Gzip(decoder) => {
                decoder.write_all(&bytes)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    /// What is left when there are no more bytes.
    pub(crate) fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(decoder) => Ok(decoder.finish()?.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let (mut decoding, mut text) = (Decoding::of("GZip"), Vec::new());
        for piece in bytes.chunks(piece) {
            text.extend_from_slice(&decoding.decode(Bytes::copy_from_slice(piece))?);
        }
        text.extend_from_slice(&decoding.finish()?);
        Ok(text)
    }

    #[test]
    fn what_was_compressed_is_decompressed_in_whatever_pieces_it_comes() {
        let text = b"content ".repeat(10_000);
        let bytes = [gzip(&text), gzip(b"more")].concat();
        for piece in [1, 100, usize::MAX] {
            assert!(decoded(&bytes, piece).unwrap() == [&text[..], b"more"].concat());
        }
    }

    #[test]
    fn what_is_cut_off_or_no_gzip_is_an_error() {
        let bytes = gzip(b"content");
        assert!(decoded(&bytes[..bytes.len() - 3], 5).is_err());
        assert!(decoded(b"content", 5).is_err());
    }
}
