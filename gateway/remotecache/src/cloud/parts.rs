//! Bodies in pieces, as clouds take them: of equal size, checked as a whole.
//!
//! A stream of whatever chunks comes in, pieces to be held in memory go out. The last one is not
//! given out before all bytes were seen to be those of the digest, so that nothing wrong is finished.

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use kiln_oci::{Descriptor, Digest, Hasher};
use kiln_registry::BodySource;

use super::error::CloudError;

/// The usual size of a piece, in bytes.
pub(crate) const PART: u64 = 8 << 20;

/// How many pieces of a body are on their way at once.
pub(crate) const PARTS_AT_ONCE: usize = 4;

/// The body of a blob, piece by piece.
pub(crate) struct Parts {
    what: String,
    digest: Digest,
    size: u64,
    part: u64,
    body: BoxStream<'static, std::io::Result<Bytes>>,
    hasher: Option<Hasher>,
    read: u64,
    rest: BytesMut,
}

impl Parts {
    /// The body of a blob in pieces of `part` bytes.
    pub(crate) fn new(descriptor: &Descriptor, body: &dyn BodySource, part: u64) -> Self {
        Self {
            what: format!("blob {}", descriptor.digest),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            part: part.max(1),
            body: body.open(),
            hasher: Some(Hasher::default()),
            read: 0,
            rest: BytesMut::new(),
        }
    }

    /// The size of pieces with which a blob has at most `most` of them.
    pub(crate) fn part_size(size: u64, most: u64) -> u64 {
        let least = size.div_ceil(most);
        least.div_ceil(PART).max(1) * PART
    }

    /// The next piece; `None` after the last. An empty body has one piece.
    ///
    /// # Errors
    ///
    /// If the body cannot be read or is not what it should be.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CloudError> {
        let Some(hasher) = &mut self.hasher else { return Ok(None) };
        let part = usize::try_from(self.part).unwrap_or(usize::MAX);
        // One byte more is read than given out, so that the last piece is known to be it.
        while self.rest.len() <= part {
            let Some(chunk) = self.body.next().await else { break };
            let chunk = chunk.map_err(|error| CloudError::Body {
                what: self.what.clone(),
                source: error.into(),
            })?;
            hasher.update(&chunk);
            self.read += chunk.len() as u64;
            self.rest.extend_from_slice(&chunk);
        }
        if self.rest.len() > part {
            return Ok(Some(self.rest.split_to(part).freeze()));
        }
        let digest = self.hasher.take().map(Hasher::finish);
        if self.read != self.size || digest.as_ref() != Some(&self.digest) {
            let why = match self.read == self.size {
                true => "its bytes are not those of its digest".to_owned(),
                false => format!("it has {} bytes instead of {}", self.read, self.size),
            };
            return Err(CloudError::Body { what: self.what.clone(), source: why.into() });
        }
        Ok(Some(self.rest.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(digest: Digest, size: u64, body: &'static [u8]) -> (Vec<Bytes>, String) {
        let descriptor = Descriptor::new("", digest, size);
        let mut parts = Parts::new(&descriptor, &Bytes::from_static(body), 4);
        let mut given = Vec::new();
        loop {
            match parts.next().await {
                Ok(Some(part)) => given.push(part),
                Ok(None) => return (given, String::new()),
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    return (given, format!("{error}: {}", source.unwrap_or_default()));
                }
            }
        }
    }

    #[tokio::test]
    async fn the_last_piece_is_given_only_if_all_is_right() {
        let (given, error) = parts(Digest::sha256("abcdefgh"), 8, b"abcdefgh").await;
        assert_eq!((given, error.as_str()), (vec!["abcd".into(), "efgh".into()], ""));
        assert_eq!(parts(Digest::sha256(""), 0, b"").await.0, [Bytes::new()]);
        for (digest, size, words) in [
            (Digest::sha256("abcdefgX"), 8, "its bytes are not those of its digest"),
            (Digest::sha256("abcdefgh"), 9, "it has 8 bytes instead of 9"),
        ] {
            let (given, error) = parts(digest, size, b"abcdefgh").await;
            assert_eq!(given, ["abcd"]);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn large_blobs_have_larger_pieces() {
        assert_eq!(Parts::part_size(1, 10_000), PART);
        assert_eq!(Parts::part_size(PART * 10_000, 10_000), PART);
        assert_eq!(Parts::part_size(PART * 10_000 + 1, 10_000), 2 * PART);
    }
}
