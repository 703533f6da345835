//! The images that have names in the store, for sources.
//!
//! Exporters write them, sources read them, and neither crate knows the other.

use std::sync::Arc;

use kiln_exporters::Images;
use kiln_oci::Reference;
use kiln_sources::{NamedImage, NamedImages};
use kiln_store::Store;

/// The named images of a store.
#[derive(Clone, Debug)]
pub(crate) struct StoreImages(pub(crate) Store);

impl NamedImages for StoreImages {
    fn find(&self, reference: &Reference) -> Option<NamedImage> {
        let image = Images::of(&self.0).find(reference)?;
        // Between the two looks it may have been pruned.
        let refs = image.refs(&self.0)?;
        let manifests = image.platforms.iter().map(|platform| platform.manifest.clone());
        let files =
            manifests.zip(refs).filter_map(|(manifest, (_, files))| Some((manifest, files?)));
        let (root, files) = (image.descriptor.clone(), files.collect());
        let since = image.since();
        Some(NamedImage { root, since, documents: Arc::new(image), files })
    }
}
