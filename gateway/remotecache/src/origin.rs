//! Where imported caches are read from: one trait, and an implementation per type.
//!
//! Bytes come out as they are stored; whoever reads them checks digest and size. Whose sessions are
//! asked is said with every call, so that a cache outlives the build that named it first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{DOCUMENT_LIMIT, Registry, Resolved, media_type_of, verify};
use kiln_session::{ContentStore, SessionManager};
use kiln_sources::Clients;

use crate::attributes::{ImportFrom, RegistryCache};
use crate::cloud::{Clouds, InObjects};
use crate::registries::registry_of;

pub use kiln_store::{ByteStream, Cause};

/// How long it may take to find out whether a registry is reached without the means of an import.
const REACHED: Duration = Duration::from_secs(3);

/// How long a session may take to appear.
const APPEARS: Duration = Duration::from_secs(5);

/// How long a cache may be silent before it is done without.
const SILENCE: Duration = Duration::from_secs(15);

/// Waits for something from a cache, as long as it may be silent.
pub(crate) async fn heard<T>(waited: impl Future<Output = T>) -> Result<T, Cause> {
    let heard = tokio::time::timeout(SILENCE, waited).await;
    let seconds = SILENCE.as_secs();
    heard.map_err(|_| format!("it did not answer for {seconds} seconds").into())
}

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
                let (sessions, own) =
                    (self.sessions.clone(), insecure.then(|| self.registry.clone()));
                let is_reached = AtomicBool::new(!insecure);
                Arc::new(InRegistry { registry, reference, sessions, own, is_reached })
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
    while let Some(chunk) = heard(stream.try_next()).await?? {
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
    sessions: SessionManager,
    /// How other builds reach it, if this one does it in another way.
    own: Option<Registry>,
    /// Whether they do.
    is_reached: AtomicBool,
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
        if let Some(own) = &self.own {
            let found = tokio::time::timeout(REACHED, own.resolve(&self.reference, &logins)).await;
            let is_same = |found: Resolved| found.descriptor.digest == root.digest;
            let is_reached = found.is_ok_and(|found| found.is_ok_and(is_same));
            self.is_reached.store(is_reached, Ordering::Relaxed);
        }
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
        self.is_reached.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::media_type;
    use kiln_registry::testing::{ScriptedAnswer, ScriptedServer};
    use kiln_registry::{HostConfig, Hosts, Options};

    #[tokio::test]
    async fn an_insecure_cache_lasts_where_others_reach_it_as_well() {
        let server = ScriptedServer::start(|_| {
            ScriptedAnswer::new(200, "{}").with("Content-Type", media_type::OCI_MANIFEST)
        });
        let server = server.unwrap();
        let lasts = async |hosts: Hosts, insecure: bool| {
            let options = Options { retry_delays: Vec::new(), ..Options::default() };
            let registry = Registry::new(hosts, options);
            let (clouds, sessions) = (Clouds::default(), SessionManager::default());
            let reference = format!("{}/x:1", server.host()).parse().unwrap();
            let from = ImportFrom::Registry(RegistryCache { reference, insecure });
            let origin = Reach { registry, clouds, sessions }.origin(from);
            let before = origin.is_lasting();
            origin.root(&[]).await.unwrap();
            (before, origin.is_lasting())
        };
        assert_eq!(lasts(Hosts::default(), false).await, (true, true));
        // On this machine, plain HTTP needs no word.
        assert_eq!(lasts(Hosts::default(), true).await, (false, true));
        let config = HostConfig { http: Some(false), ..HostConfig::default() };
        let encrypted = Hosts::new([(server.host(), config)].into());
        assert_eq!(lasts(encrypted, true).await, (false, false));
    }
}
