//! Images that have a name in Kiln's own store.
//!
//! A reference comes in; an image that can be read without a registry goes out. Who keeps such
//! images lives in a higher layer, and is known here by this trait only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::Documents;
use kiln_store::Ref;

/// Finds images in the store by name.
pub trait NamedImages: Send + Sync {
    /// The image that has this name now. A reference with a digest means that image and no other,
    /// whichever name of the repository it has.
    fn find(&self, reference: &Reference) -> Option<NamedImage>;
}

/// No image has a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNamedImages;

impl NamedImages for NoNamedImages {
    fn find(&self, _: &Reference) -> Option<NamedImage> {
        None
    }
}

/// An image that was found by its name.
#[derive(Clone)]
pub struct NamedImage {
    /// The index or manifest that the name points to.
    pub root: Descriptor,
    /// Since when.
    pub since: SystemTime,
    /// What reads the index, its manifests and their configs.
    pub documents: Arc<dyn Documents>,
    /// The files of each platform's image by the digest of its manifest; one without layers has
    /// none.
    pub files: BTreeMap<Digest, Ref>,
}

impl fmt::Debug for NamedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, files, .. } = self;
        f.debug_struct("NamedImage").field("root", root).field("files", files).finish()
    }
}
