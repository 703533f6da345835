//! Images: of a registry, of Kiln's own store, or of an OCI layout that the client holds.
//!
//! A reference comes in; the layers for one platform go out, on top of each other. What was resolved
//! and read once is remembered, so that an image by digest needs no registry the second time. Layers
//! in a registry stay there until somebody looks into them ([`blobs`] says how they are had then);
//! those that only this client has are fetched. An image that has its name in the store is used where
//! the registry cannot help.

mod attestations;
mod blobs;
mod documents;
mod resolve;

pub use attestations::Attestations;
pub(crate) use blobs::{ImageBlobs, Repositories};

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kiln_graph::{ImageSource, OciLayoutSource};
use kiln_keys::KeyError;
use kiln_keys::source::{ImageKey, image_content};
use kiln_oci::{Descriptor, Digest, Platform, Reference, chain_ids};
use kiln_progress::{Sender, Stream};
use kiln_registry::{ImagePlan, Registry, RegistryError};
use kiln_session::SessionManager;
use kiln_store::{BlobProvider, FillError, Kind, LayerBlob, RecordInfo, Ref, Store};

use crate::image::documents::OriginDocuments;
use crate::image::resolve::Reached;
use crate::named::{NamedImage, NamedImages};
use crate::source::{Cause, Content, Context, Fetched, Metadata, Pin};
use crate::state::{REFS, State};

/// Names, in the annotations of a layer, the repository that it was pulled from; the host stands behind
/// it. Who pushes the layer to the same host asks to have it taken over from there.
const SOURCE: &str = "containerd.io/distribution.source.";

/// The source of images. A cheap handle.
#[derive(Clone)]
pub(crate) struct Image {
    registry: Registry,
    store: Store,
    state: State,
    named: Arc<dyn NamedImages>,
    reached: Arc<Reached>,
    sessions: SessionManager,
}

/// What fetching needs to know from pinning.
#[derive(Clone, Debug)]
pub(crate) struct ImagePin {
    /// Of the platform, and only as many as are wanted.
    layers: Vec<LayerBlob>,
    /// All of them applied, if the store has that under the image's name.
    files: Option<Ref>,
    origin: Origin,
    kind: Kind,
}

/// Where blobs come from.
#[derive(Clone, Debug)]
enum Origin {
    Registry(Reference),
    Store { name: String, image: Box<NamedImage> },
    Layout { session: String, store: String, name: String },
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry, or what it sent.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The name means another image than the user wants.
    #[error("image digest {got} for {reference} does not match expected checksum {wanted}")]
    Checksum {
        /// The image.
        reference: String,
        /// What the user wants.
        wanted: Digest,
        /// What the name means.
        got: Digest,
    },
    /// It has not what is wanted of it.
    #[error("image {image}: {source}")]
    Key {
        /// The image.
        image: String,
        /// What is missing.
        source: KeyError,
    },
    /// The client did not give a blob of its layout.
    #[error("OCI layout {store} of the client: {subject}")]
    Layout {
        /// The layout.
        store: String,
        /// What was read.
        subject: String,
        /// What the client said.
        source: Cause,
    },
    /// A layer could not be fetched or unpacked.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The store failed.
    #[error("cannot store {image}")]
    Store {
        /// The image.
        image: String,
        /// What the store said.
        source: Cause,
    },
}

impl Image {
    pub(crate) fn new(
        registry: &Registry,
        store: &Store,
        state: &State,
        named: Arc<dyn NamedImages>,
        sessions: &SessionManager,
    ) -> Self {
        let (registry, store, state) = (registry.clone(), store.clone(), state.clone());
        let sessions = sessions.clone();
        Self { registry, store, state, named, reached: Arc::default(), sessions }
    }

    pub(crate) async fn pin(
        &self,
        source: &ImageSource,
        platform: &Platform,
        context: &Context,
    ) -> Result<Pin, ImageError> {
        let reference = &source.reference;
        let _part = context.begin(format!("resolve {reference}"), 0);
        let (origin, root) = self.resolve(source, platform, context).await?;
        let wanted = source.checksum.as_ref();
        let kind = if source.frontend { Kind::Frontend } else { Kind::Regular };
        let plan = self.plan(&origin, root, platform, wanted, context).await?;
        let named = reference.with_digest(plan.root.digest.clone());
        pinned(plan, named, platform, source.layer_limit, origin, kind)
    }

    pub(crate) async fn pin_layout(
        &self,
        source: &OciLayoutSource,
        platform: &Platform,
        context: &Context,
    ) -> Result<Pin, ImageError> {
        let name = source.reference.to_string();
        let _part = context.begin(format!("resolve {name}"), 0);
        let Some(digest) = source.reference.digest() else {
            let subject = name.clone();
            let cause = "an image of a layout needs a digest".into();
            return Err(ImageError::Layout { store: source.store.clone(), subject, source: cause });
        };
        // An empty store is named like the image, as clients that predate the attribute do.
        let store = match source.store.as_str() {
            "" => source.reference.name(),
            store => store.to_owned(),
        };
        let origin = Origin::Layout { session: source.session.clone(), store, name };
        let root = self.root_of_layout(&origin, digest, context).await?;
        let wanted = source.checksum.as_ref();
        let plan = self.plan(&origin, root, platform, wanted, context).await?;
        let named = source.reference.clone();
        pinned(plan, named, platform, source.layer_limit, origin, Kind::Regular)
    }

    /// The image, of which layers may be elsewhere: in the registry it is from.
    pub(crate) async fn fetch(
        &self,
        pin: &ImagePin,
        context: &Context,
    ) -> Result<Fetched, ImageError> {
        if let Some(files) = &pin.files {
            return Ok(Some(files.clone()));
        }
        let diff_ids: Vec<Digest> = pin.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let Some(chain_id) = chain_ids(&diff_ids).pop() else { return Ok(None) };
        let memory_key = format!("image {chain_id}");
        let provider = self.blobs(pin, context);
        let known = match self.state.get::<String>(&REFS, &memory_key).await {
            Some(id) => self.store.load_lazy(&id, &provider).await.ok(),
            None => None,
        };
        let image = match known {
            Some(known) => known,
            None => {
                let provider = Arc::new(provider) as Arc<dyn BlobProvider>;
                let image = self.store.lazy(&pin.layers, &provider).await;
                image.map_err(|error| pin.origin.store_error(error))?
            }
        };
        // A client that is gone has no layers any more, and the store never has others.
        if !matches!(pin.origin, Origin::Registry(_)) {
            image.files(&context.requester()).await?;
        }
        // One that is known may have been kept as an ordinary image until now.
        if !image.is_kept() || pin.kind == Kind::Frontend {
            keep(&image, pin).await?;
            self.state.put(&REFS, &memory_key, &image.id()).await;
        }
        Ok(Some(image))
    }

    /// Who has the layers of an image.
    pub(crate) fn blobs(&self, pin: &ImagePin, context: &Context) -> ImageBlobs {
        let layers = pin.layers.iter().map(|layer| layer.descriptor.digest.clone());
        ImageBlobs {
            is_kept: false,
            origin: pin.origin.clone(),
            layers: layers.collect(),
            registry: self.registry.clone(),
            sessions: self.sessions.clone(),
            session: Arc::clone(&context.session),
        }
    }

    /// Who has layers that were pulled from registries before.
    pub(crate) fn repositories(&self) -> Repositories {
        Repositories { registry: self.registry.clone(), sessions: self.sessions.clone() }
    }

    /// The registries, which say in the log of a vertex why it takes longer.
    fn registry_of(&self, context: &Context) -> Registry {
        noticed(&self.registry, &context.progress, &context.vertex)
    }

    async fn plan(
        &self,
        origin: &Origin,
        root: Descriptor,
        platform: &Platform,
        wanted: Option<&Digest>,
        context: &Context,
    ) -> Result<ImagePlan, ImageError> {
        let documents = OriginDocuments { image: self, origin, context };
        let plan = ImagePlan::read(&origin.to_string(), root, platform, &documents).await?;
        match wanted {
            Some(wanted) if *wanted != plan.root.digest && *wanted != plan.descriptor.digest => {
                Err(ImageError::Checksum {
                    reference: origin.to_string(),
                    wanted: wanted.clone(),
                    got: plan.root.digest,
                })
            }
            _ => Ok(plan),
        }
    }
}

/// Registries that say in the log of a vertex why it takes longer.
fn noticed(registry: &Registry, progress: &Sender, vertex: &Digest) -> Registry {
    let (progress, vertex) = (progress.clone(), vertex.clone());
    registry.with_notice(Arc::new(move |text| {
        let line = Bytes::from(format!("{text}\n"));
        progress.log(&vertex, Stream::Stderr, SystemTime::now(), line);
    }))
}

async fn keep(result: &Ref, pin: &ImagePin) -> Result<(), ImageError> {
    let description = format!("pulled from {}", pin.origin);
    let kept = result.keep(RecordInfo { kind: pin.kind, description }).await;
    kept.map_err(|error| pin.origin.store_error(error))
}

impl Origin {
    /// Says in the annotations of a layer where it comes from.
    fn mark(&self, mut layer: Descriptor) -> Descriptor {
        if let Self::Registry(reference) = self {
            let key = format!("{SOURCE}{}", reference.domain());
            layer.annotations.insert(key, reference.repository().to_owned());
        }
        layer
    }

    fn store_error(&self, source: impl Into<Cause>) -> ImageError {
        ImageError::Store { image: self.to_string(), source: source.into() }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Store { name, .. } => f.write_str(name),
            Self::Layout { name, .. } => write!(f, "oci-layout://{name}"),
        }
    }
}

fn pinned(
    plan: ImagePlan,
    reference: Reference,
    platform: &Platform,
    limit: Option<usize>,
    origin: Origin,
    kind: Kind,
) -> Result<Pin, ImageError> {
    let key = ImageKey { digest: &plan.root.digest, platform, layer_limit: limit }.key();
    let content_key = image_content(&plan.config_bytes, limit)
        .map_err(|source| ImageError::Key { image: origin.to_string(), source })?;
    let blobs = plan.layers().iter().cloned().zip(plan.config.rootfs.diff_ids.iter().cloned());
    let layers: Vec<LayerBlob> = blobs
        .take(limit.unwrap_or(usize::MAX))
        .map(|(descriptor, diff_id)| LayerBlob { descriptor: origin.mark(descriptor), diff_id })
        .collect();
    let files = match (&origin, limit) {
        (Origin::Store { image, .. }, None) => image.files.get(&plan.descriptor.digest).cloned(),
        _ => None,
    };
    let metadata =
        Metadata::Image { reference, manifest: plan.descriptor.digest, config: plan.config_bytes };
    let content = Content::Image(Box::new(ImagePin { layers, files, origin, kind }));
    Ok(Pin { key, content_key, metadata, content })
}
