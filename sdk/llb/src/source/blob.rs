//! Single blobs, of a registry (`docker-image+blob://`) or an OCI layout (`oci-layout+blob://`).

use kiln_oci::Reference;

use super::{OciStore, SourceError, SourceVertex, invalid, owner, permissions};
use crate::{Constraints, FileMode, State, caps};

/// Options of [`State::image_blob`] and [`State::oci_layout_blob`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Blob {
    /// The name of the file in the result; the digest if empty.
    pub filename: String,
    /// Permissions of the file.
    pub mode: Option<FileMode>,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// Who has the layout; only for layouts.
    pub store: Option<OciStore>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Blob {
    with_filename(filename: impl Into<String>),
    with_uid(uid: u32),
    with_gid(gid: u32),
    with_store(store: impl Into<Option<OciStore>>),
    with_constraints(constraints: Constraints),
});

impl State {
    /// A directory with one file, a blob of a registry, by `repository@digest`.
    pub fn image_blob(reference: &str, blob: Blob) -> Self {
        blob.state("docker-image+blob://", reference).unwrap_or_else(invalid)
    }

    /// A directory with one file, a blob of an OCI layout, by `repository@digest`.
    pub fn oci_layout_blob(reference: &str, blob: Blob) -> Self {
        blob.state("oci-layout+blob://", reference).unwrap_or_else(invalid)
    }
}

impl Blob {
    /// The same with this [`mode`](#structfield.mode).
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<FileMode>) -> Self {
        self.mode = Some(mode.into());
        self
    }

    fn state(self, scheme: &str, reference: &str) -> Result<State, SourceError> {
        let reference = Reference::parse_untagged(reference)?;
        if reference.tag().is_some() {
            return Err(SourceError::BlobWithTag);
        }
        if reference.digest().is_none() {
            return Err(SourceError::BlobWithoutDigest);
        }
        let mut source = SourceVertex::new(caps::SOURCE_IMAGE_BLOB);
        source.identifier = format!("{scheme}{reference}");
        source.set("http.filename", self.filename);
        source.set("http.perm", permissions(self.mode));
        source.set("http.uid", owner(self.uid));
        source.set("http.gid", owner(self.gid));
        if let Some(store) = &self.store {
            store.describe(&mut source);
        }
        Ok(source.state(self.constraints))
    }
}
