//! Who has the layers of images, when somebody looks into them.
//!
//! In whose name a registry is asked is up to whoever asks now; the session that the image was
//! resolved in serves those who have none.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{Registry, RegistryError};
use kiln_session::SessionManager;
use kiln_store::{ApplyError, BlobError, BlobProvider, ByteStream, Providers, Requester};

use crate::Clients;
use crate::image::{Origin, SOURCE, noticed};
use crate::session::Session;

/// Where the layers of an image are.
#[derive(Clone)]
pub(crate) struct ImageBlobs {
    pub(super) origin: Origin,
    pub(super) layers: BTreeSet<Digest>,
    pub(super) registry: Registry,
    pub(super) sessions: SessionManager,
    pub(super) session: Arc<dyn Session>,
    /// An earlier build has found them there.
    pub(super) is_kept: bool,
}

impl BlobProvider for ImageBlobs {
    fn name(&self) -> String {
        self.origin.to_string()
    }

    fn open(&self, blob: &Descriptor, requester: &Requester) -> ByteStream {
        let session: Arc<dyn Session> = match requester.sessions.is_empty() {
            true => Arc::clone(&self.session),
            false => Arc::new(Clients::new(&self.sessions, requester.sessions.iter().cloned())),
        };
        match &self.origin {
            Origin::Registry(reference) => {
                let registry = noticed(&self.registry, &requester.progress, &requester.vertex);
                let stream = registry.blob_stream(reference, blob, 0, session.credentials());
                stream.map_err(Into::into).boxed()
            }
            // Whoever asks has looked into the store already.
            Origin::Store { .. } => {
                let gone = "it is no longer in the store, build or pack the image again";
                futures::stream::iter([Err(gone.into())]).boxed()
            }
            Origin::Layout { session: preferred, store, .. } => {
                session.layout_blob(preferred, store, &blob.digest, 0).boxed()
            }
        }
    }

    /// What an earlier build has found there may have been removed since. A registry that does not
    /// answer has lost nothing.
    fn has_lost(&self, error: &(dyn Error + 'static)) -> bool {
        let is_other = error.is::<BlobError>() || error.is::<ApplyError>();
        let is_gone = matches!(error.downcast_ref(), Some(RegistryError::NotFound { .. }));
        self.is_kept && (is_other || is_gone)
    }
}

#[async_trait]
impl Providers for ImageBlobs {
    async fn find(&self, blob: &Descriptor) -> Vec<Arc<dyn BlobProvider>> {
        match self.layers.contains(&blob.digest) {
            true => vec![Arc::new(self.clone())],
            false => Vec::new(),
        }
    }
}

/// Registries, which have what was pulled from them once; the annotations of a layer say from where.
#[derive(Clone, Debug)]
pub(crate) struct Repositories {
    pub(super) registry: Registry,
    pub(super) sessions: SessionManager,
}

#[async_trait]
impl Providers for Repositories {
    async fn find(&self, blob: &Descriptor) -> Vec<Arc<dyn BlobProvider>> {
        let sources = blob.annotations.iter().filter_map(|(key, repositories)| {
            let host = key.strip_prefix(SOURCE)?;
            let repository = repositories.split(',').next()?;
            Reference::parse_untagged(&format!("{host}/{repository}")).ok()
        });
        let provider = |reference| {
            Arc::new(ImageBlobs {
                origin: Origin::Registry(reference),
                layers: BTreeSet::from([blob.digest.clone()]),
                registry: self.registry.clone(),
                sessions: self.sessions.clone(),
                session: Arc::new(Clients::new(&self.sessions, [])),
                is_kept: true,
            }) as Arc<dyn BlobProvider>
        };
        sources.map(provider).collect()
    }
}
