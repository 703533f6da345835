//! Where imported caches are read from: one trait, and an implementation per type.
//!
//! Bytes come out as they are stored; whoever reads them checks digest and size. Whose sessions are
//! asked is said with every call, so that a cache outlives the build that named it first.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{DOCUMENT_LIMIT, Registry, media_type_of, verify};
use kiln_session::{ContentStore, SessionManager};
use kiln_sources::Clients;

use crate::attributes::{ImportFrom, RegistryCache};
use crate::cloud::{Clouds, InObjects};
use crate::registries::registry_of;

pub use kiln_store::{ByteStream, Cause};

/// How long a session may take to appear.
const APPEARS: Duration = Duration::from_secs(5);

/// What a cache begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A manifest that names everything else, checked against its digest.
    Manifest(Bytes),
    /// Configs that say themselves what there is to say of their layers.
    Configs(Vec<Bytes>),
}

/// A place that has a cache.
#[async_trait]
pub trait CacheOrigin: Send + Sync {
    /// What the cache begins with.
    async fn root(&self, sessions: &[String]) -> Result<Root, Cause>;

    /// A blob or document that the manifest names, unchecked.
    fn blob(&self, sessions: &[String], descriptor: &Descriptor) -> ByteStream;

    /// Whether a blob that the manifest names is still there.
    async fn has(&self, sessions: &[String], descriptor: &Descriptor) -> bool;

    /// Whether other builds find a layer there by what its annotations say; see [`CacheOrigin::mark`].
    fn is_lasting(&self) -> bool {
        false
    }

    /// Says in the annotations of a layer where it comes from, for those who push it.
    fn mark(&self, _layer: &mut Descriptor) {}
}

/// How to reach registries, clouds and clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The registries.
    pub registry: Registry,
    /// The clouds.
    pub clouds: Clouds,
    /// The clients.
    pub sessions: SessionManager,
}

impl Reach {
    /// The place that an import names.
    pub(crate) fn origin(&self, from: ImportFrom) -> Arc<dyn CacheOrigin> {
        match from {
            ImportFrom::Registry(RegistryCache { reference, insecure }) => {
                let registry = registry_of(&self.registry, &reference, insecure);
                let sessions = self.sessions.clone();
                Arc::new(InRegistry { registry, reference, insecure, sessions })
            }
            ImportFrom::Local { store, digest } => {
                Arc::new(AtClient { sessions: self.sessions.clone(), store, digest })
            }
            ImportFrom::Cloud(cloud) => Arc::new(InObjects(cloud)),
        }
    }
}

/// Reads a blob whole, up to a limit, and checks its digest.
pub(crate) async fn read(stream: ByteStream, digest: &Digest, limit: u64) -> Result<Bytes, Cause> {
    let mut bytes = Vec::new();
    let mut stream = stream;
    while let Some(chunk) = stream.try_next().await? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(format!("{digest} is larger than {limit} bytes").into());
        }
        bytes.extend_from_slice(&chunk);
    }
    verify(&bytes, digest, "the cache")?;
    Ok(bytes.into())
}

struct InRegistry {
    registry: Registry,
    reference: Reference,
    insecure: bool,
    sessions: SessionManager,
}

impl InRegistry {
    fn clients(&self, sessions: &[String]) -> Clients {
        Clients::new(&self.sessions, sessions.iter().cloned())
    }
}

#[async_trait]
impl CacheOrigin for InRegistry {
    async fn root(&self, sessions: &[String]) -> Result<Root, Cause> {
        let logins = self.clients(sessions).logins();
        let resolved = self.registry.resolve(&self.reference, &logins).await?;
        let root = &resolved.descriptor;
        Ok(Root::Manifest(match resolved.bytes {
            Some(bytes) => bytes,
            None => self.registry.document(&self.reference, root, &logins).await?,
        }))
    }

    fn blob(&self, sessions: &[String], descriptor: &Descriptor) -> ByteStream {
        let logins = Arc::new(self.clients(sessions).logins());
        // Manifests of the platforms of an image are no blobs to a registry.
        if is_manifest(descriptor) {
            let (registry, reference) = (self.registry.clone(), self.reference.clone());
            let descriptor = descriptor.clone();
            let document = async move {
                let document = registry.document(&reference, &descriptor, &*logins).await;
                document.map_err(Cause::from)
            };
            return stream::once(document).boxed();
        }
        let stream = self.registry.blob_stream(&self.reference, descriptor, 0, logins);
        stream.map_err(Cause::from).boxed()
    }

    async fn has(&self, sessions: &[String], descriptor: &Descriptor) -> bool {
        let logins = self.clients(sessions).logins();
        let has = self.registry.has_blob(&self.reference, descriptor, &logins).await;
        has.unwrap_or(false)
    }

    fn is_lasting(&self) -> bool {
        // How else to reach it is said by this import alone.
        !self.insecure
    }

    fn mark(&self, layer: &mut Descriptor) {
        let key = format!("containerd.io/distribution.source.{}", self.reference.domain());
        layer.annotations.insert(key, self.reference.repository().to_owned());
    }
}

/// Whether a document is a manifest or an index.
fn is_manifest(descriptor: &Descriptor) -> bool {
    use kiln_oci::MediaKind;
    matches!(MediaKind::of(&descriptor.media_type), MediaKind::Index | MediaKind::Manifest)
}

struct AtClient {
    sessions: SessionManager,
    store: String,
    digest: Digest,
}

#[async_trait]
impl CacheOrigin for AtClient {
    async fn root(&self, sessions: &[String]) -> Result<Root, Cause> {
        let root = Descriptor::new("", self.digest.clone(), 0);
        let bytes = read(self.blob(sessions, &root), &self.digest, DOCUMENT_LIMIT).await?;
        tracing::debug!(media_type = media_type_of(&bytes), "the manifest of a local cache");
        Ok(Root::Manifest(bytes))
    }

    fn blob(&self, sessions: &[String], descriptor: &Descriptor) -> ByteStream {
        let (manager, sessions) = (self.sessions.clone(), sessions.to_vec());
        let (store, digest) = (store_id(&self.store), descriptor.digest.clone());
        let opened = async move {
            let content = holder(&manager, &sessions, &store, &digest).await?;
            Ok::<_, Cause>(content.read(&digest, 0)?.map_err(Cause::from))
        };
        stream::once(opened).try_flatten().boxed()
    }

    async fn has(&self, sessions: &[String], descriptor: &Descriptor) -> bool {
        let store = store_id(&self.store);
        holder(&self.sessions, sessions, &store, &descriptor.digest).await.is_ok()
    }
}

/// The content store of the first session that has a blob.
async fn holder(
    manager: &SessionManager,
    sessions: &[String],
    store: &str,
    digest: &Digest,
) -> Result<ContentStore, Cause> {
    let mut failed: Cause = "no session has the cache".into();
    for session in sessions.iter().filter(|session| !session.is_empty()) {
        let opened = async {
            let content = manager.get(session, APPEARS).await?.content(store);
            match content.info(digest).await? {
                Some(_) => Ok(content),
                None => Err(Cause::from(format!("there is no {digest} in {store}"))),
            }
        };
        match opened.await {
            Ok(content) => return Ok(content),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The content store of a client that a local cache is.
pub(crate) fn store_id(path: &str) -> String {
    format!("local:{path}")
}
