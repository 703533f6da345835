//! Where caches are written to: one trait, and an implementation per type.
//!
//! Blobs come first, then the config, then the manifest that names them all, so that what can be
//! seen is always whole.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{BodySource, Registry};
use kiln_session::{CallError, Caller, SessionManager};
use kiln_sources::{ClientCredentials, Clients};

use crate::attributes::{ExportTo, RegistryCache};
use crate::cloud::CloudCache;
use crate::collect::ExportLayer;
use crate::origin::{Cause, Reach, store_id};
use crate::registries::registry_of;

/// How many layers are offered to a target at once.
const OFFERED: usize = 16;

/// How long a session may take to appear.
const APPEARS: Duration = Duration::from_secs(5);

/// A place that takes a cache with a manifest.
#[async_trait]
pub(crate) trait CacheTarget: Send + Sync {
    /// Puts a blob there, unless it is there.
    async fn put_blob(
        &self,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
        origins: &[String],
    ) -> Result<(), Cause>;

    /// Puts the manifest there, which makes the cache one that is found.
    async fn put_manifest(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Cause>;
}

/// Where a cache goes.
pub(crate) enum Target {
    /// To where a manifest names what belongs to it.
    Manifests(Box<dyn CacheTarget>),
    /// To where its config says all.
    Objects(CloudCache),
}

impl Target {
    /// How many layers are offered at once.
    pub(crate) fn offered(&self) -> usize {
        match self {
            Self::Manifests(_) => OFFERED,
            Self::Objects(cloud) => cloud.0.parallelism(),
        }
    }

    /// Puts a layer there, unless it is there.
    pub(crate) async fn put_layer(&self, layer: &ExportLayer) -> Result<(), Cause> {
        let (descriptor, body) = (&layer.descriptor, Arc::clone(&layer.body));
        match self {
            Self::Manifests(target) => target.put_blob(descriptor, body, &layer.origins).await,
            Self::Objects(cloud) => Arc::clone(&cloud.0).put_blob(descriptor, body).await,
        }
    }
}

/// The place that an export names; `None` for a cache that rides in an image.
pub(crate) async fn open(
    to: &ExportTo,
    reach: &Reach,
    session: &str,
) -> Result<Option<Target>, Cause> {
    Ok(Some(match to {
        ExportTo::Inline => return Ok(None),
        ExportTo::Local(path) => {
            let client = caller(&reach.sessions, session).await?;
            Target::Manifests(Box::new(ToClient { client, store: store_id(path) }))
        }
        ExportTo::Registry(RegistryCache { reference, insecure }) => {
            let registry = registry_of(&reach.registry, reference, *insecure);
            let logins = Clients::new(&reach.sessions, [session.to_owned()]).logins();
            let reference = reference.clone();
            Target::Manifests(Box::new(ToRegistry { registry, reference, logins }))
        }
        ExportTo::Cloud(cloud) => Target::Objects(cloud.clone()),
    }))
}

async fn caller(sessions: &SessionManager, session: &str) -> Result<Caller, Cause> {
    if session.is_empty() {
        return Err("a local cache is written to the client, which needs a session".into());
    }
    Ok(sessions.get(session, APPEARS).await?)
}

struct ToRegistry {
    registry: Registry,
    reference: Reference,
    logins: ClientCredentials,
}

#[async_trait]
impl CacheTarget for ToRegistry {
    async fn put_blob(
        &self,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
        origins: &[String],
    ) -> Result<(), Cause> {
        let host = format!("{}/", self.reference.domain());
        let origins = origins.iter().filter_map(|origin| origin.strip_prefix(&host));
        let origins: Vec<String> = origins.map(Into::into).collect();
        let pushed =
            self.registry.push_blob(&self.reference, descriptor, body, &origins, &self.logins);
        pushed.await?;
        Ok(())
    }

    async fn put_manifest(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Cause> {
        let media_type = &descriptor.media_type;
        let pushed = self.registry.push_manifest(&self.reference, media_type, bytes, &self.logins);
        pushed.await?;
        Ok(())
    }
}

struct ToClient {
    client: Caller,
    store: String,
}

#[async_trait]
impl CacheTarget for ToClient {
    async fn put_blob(
        &self,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
        _: &[String],
    ) -> Result<(), Cause> {
        let content = self.client.content(&self.store);
        let Descriptor { digest, size, .. } = descriptor;
        let put = async {
            if content.info(digest).await?.is_some() {
                return Ok(());
            }
            content.write(digest, *size, Default::default(), body.open()).await
        };
        put.await.map_err(|error| self.explained(error))
    }

    async fn put_manifest(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Cause> {
        self.put_blob(descriptor, Arc::new(bytes), &[]).await
    }
}

impl ToClient {
    /// Clients other than Kiln's do not understand every name of a store.
    fn explained(&self, error: CallError) -> Cause {
        if self.store.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return error.into();
        }
        let store = &self.store;
        let why = "the client may not know it by a name that contains value with non-printable \
                   ASCII characters";
        format!("{error}: {store}: {why}").into()
    }
}
