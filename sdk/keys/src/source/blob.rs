//! Keys of single blobs. Where a blob is kept is not part of them.

use kiln_oci::Digest;
use kiln_pb::gojson::{Json, Object};

use super::SourceKey;
use super::http::safe;

/// What the key of a blob is made of.
#[derive(Clone, Copy, Debug)]
pub struct BlobKey<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// The name that was asked for; see [`blob_filename`].
    pub filename: &'a str,
    /// Its permissions; 0 if none were asked for.
    pub perm: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl BlobKey<'_> {
    /// The key.
    pub fn key(&self) -> SourceKey {
        SourceKey::new(Digest::sha256(self.to_json()).to_string())
    }
}

impl Json for BlobKey<'_> {
    fn fields(&self, object: &mut Object<'_>) {
        object.always_text("Digest", self.digest.as_str());
        object.always_text("Filename", self.filename);
        object.always("Perm", self.perm);
        object.always("UID", self.uid);
        object.always("GID", self.gid);
    }
}

/// The name that was asked for, made one element of a path; nothing stays nothing.
pub fn blob_filename(wanted: &str) -> String {
    if wanted.is_empty() { String::new() } else { safe(wanted) }
}
