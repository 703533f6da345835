//! Images: of a registry, of Kiln's own store, or of an OCI layout that the client holds.
//!
//! A reference comes in; the layers for one platform go out, applied on top of each other. What
//! was resolved and read once is remembered, so that an image by digest needs no registry the
//! second time. Layers are fetched side by side and applied as they come; one that is here already
//! is not fetched. An image that has its name in the store is used where the registry cannot help.

mod attestations;
mod documents;
mod resolve;

pub use attestations::Attestations;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt as _;
use kiln_graph::{ImageSource, OciLayoutSource};
use kiln_keys::KeyError;
use kiln_keys::source::{ImageKey, image_content};
use kiln_oci::{Descriptor, Digest, Platform, Reference, chain_ids};
use kiln_progress::Stream;
use kiln_registry::{ImagePlan, Registry, RegistryError};
use kiln_store::{ApplyError, Blob, BlobError, Kind, LayerBlob, RecordInfo, Ref, Store};
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::image::documents::OriginDocuments;
use crate::image::resolve::Reached;
use crate::named::{NamedImage, NamedImages};
use crate::progress::Part;
use crate::session::ByteStream;
use crate::source::{Cause, Content, Context, Fetched, Metadata, Pin};
use crate::state::{REFS, StateFile};
use crate::turns::Turns;

/// Names, in the annotations of a layer, the repository that it was pulled from; the host stands behind
/// it. Who pushes the layer to the same host asks to have it taken over from there.
const SOURCE: &str = "containerd.io/distribution.source.";

/// The source of images. A cheap handle.
#[derive(Clone)]
pub(crate) struct Image {
    registry: Registry,
    store: Store,
    state: StateFile,
    named: Arc<dyn NamedImages>,
    reached: Arc<Reached>,
    turns: Arc<Turns>,
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
    /// A layer could not be stored.
    #[error("layer {layer} of {image}")]
    Blob {
        /// The image.
        image: String,
        /// The layer.
        layer: Digest,
        /// What went wrong.
        source: Cause,
    },
    /// A layer could not be applied.
    #[error("cannot unpack {image}")]
    Apply {
        /// The image.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ApplyError,
    },
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
        state: &StateFile,
        named: Arc<dyn NamedImages>,
    ) -> Self {
        let (registry, store, state) = (registry.clone(), store.clone(), state.clone());
        Self { registry, store, state, named, reached: Arc::default(), turns: Arc::default() }
    }

    pub(crate) async fn pin(
        &self,
        source: &ImageSource,
        platform: &Platform,
        context: &Context,
    ) -> Result<Pin, ImageError> {
        let reference = &source.reference;
        let _part = Part::begin(context, format!("resolve {reference}"), 0);
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
        let _part = Part::begin(context, format!("resolve {name}"), 0);
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

    /// Applies the layers, fetching those that are missing.
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
        if let Some(id) = self.state.get::<String>(&REFS, &memory_key).await
            && let Ok(known) = self.store.load(&id)
        {
            if pin.kind == Kind::Frontend {
                // It may have been kept as an ordinary image until now.
                keep(&known, pin).await?;
            }
            return Ok(Some(known));
        }
        let top = self.layers(pin, context).await?;
        let Some(top) = top else { return Ok(None) };
        keep(&top, pin).await?;
        self.state.put(&REFS, &memory_key, &top.id()).await;
        Ok(Some(top))
    }

    async fn layers(&self, pin: &ImagePin, context: &Context) -> Result<Fetched, ImageError> {
        let mut top: Option<Ref> = None;
        let mut layers = pin.layers.iter();
        let mut missing = None;
        // Layers that were applied before are shared, and their blobs need not be here.
        for layer in layers.by_ref() {
            match self.store.apply(top.as_ref(), layer).await {
                Ok(applied) => top = Some(applied),
                Err(ApplyError::NoBlob(_)) => {
                    missing = Some(layer);
                    break;
                }
                Err(error) => return Err(pin.origin.apply_error(error)),
            }
        }
        let downloads: Vec<_> = missing
            .into_iter()
            .chain(layers)
            .map(|layer| {
                let (this, origin) = (self.clone(), pin.origin.clone());
                let (context, wanted) = (context.clone(), layer.descriptor.clone());
                let task = async move { this.download(&origin, &wanted, &context).await };
                (layer, AbortOnDropHandle::new(tokio::spawn(task)))
            })
            .collect();
        for (layer, download) in downloads {
            let blob = download.await.map_err(|error| pin.origin.store_error(error))??;
            let id = format!("extracting {}", layer.descriptor.digest);
            let _part = Part::begin(context, id, 0);
            let applied = self.store.apply(top.as_ref(), layer).await;
            top = Some(applied.map_err(|error| pin.origin.apply_error(error))?);
            drop(blob);
        }
        Ok(top)
    }

    /// Brings a blob into the store.
    async fn download(
        &self,
        origin: &Origin,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Blob, ImageError> {
        let digest = &descriptor.digest;
        if let Some(blob) = self.store.blob(digest) {
            return Ok(blob);
        }
        let _turn = self.turns.take(digest.as_str()).await;
        if let Some(blob) = self.store.blob(digest) {
            return Ok(blob);
        }
        let failed = |source: Cause| ImageError::Blob {
            image: origin.to_string(),
            layer: digest.clone(),
            source,
        };
        let part = Part::begin(context, digest.as_str(), descriptor.size);
        let mut writer = self.store.writer().await.map_err(|error| failed(error.into()))?;
        let mut stream = self.stream(origin, descriptor, context);
        while let Some(chunk) = stream.try_next().await.map_err(&failed)? {
            writer.write_all(&chunk).await.map_err(|error| failed(error.into()))?;
            part.add(chunk.len() as u64);
        }
        let stored = writer.commit(Some(digest), Some(descriptor.size)).await;
        stored.map_err(|error: BlobError| failed(error.into()))
    }

    /// The registries, which say in the log of a vertex why it takes longer.
    fn registry_of(&self, context: &Context) -> Registry {
        let (progress, vertex) = (context.progress.clone(), context.vertex.clone());
        self.registry.with_notice(Arc::new(move |text| {
            let line = Bytes::from(format!("{text}\n"));
            progress.log(&vertex, Stream::Stderr, SystemTime::now(), line);
        }))
    }

    fn stream(&self, origin: &Origin, descriptor: &Descriptor, context: &Context) -> ByteStream {
        match origin {
            Origin::Registry(reference) => {
                let credentials = context.session.credentials();
                let registry = self.registry_of(context);
                let stream = registry.blob_stream(reference, descriptor, 0, credentials);
                Box::pin(stream.map_err(Into::into))
            }
            // Whoever asks has looked into the store already.
            Origin::Store { .. } => {
                let gone = "it is no longer in the store, build or pack the image again";
                Box::pin(futures::stream::iter([Err(gone.into())]))
            }
            Origin::Layout { session, store, .. } => {
                context.session.layout_blob(session, store, &descriptor.digest, 0)
            }
        }
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

    fn apply_error(&self, source: ApplyError) -> ImageError {
        ImageError::Apply { image: self.to_string(), source }
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
