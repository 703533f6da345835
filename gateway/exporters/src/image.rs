//! The image exporter: names in the store, and pushes to registries.
//!
//! An assembled image comes in. Layers are pushed at once, as many as the registry's queue lets
//! through; then configs, manifests and the index, so that what can be seen is always whole.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{BodySource, HostConfig, Hosts, Registry, RegistryError};
use kiln_store::{Blob, Requester};
use tokio_util::io::ReaderStream;

use crate::ExportContext;
use crate::assemble::{Document, Image, ImageLayer};
use crate::attested::Attested;
use crate::error::ExportError;
use crate::images::Images;
use crate::options::{ExportOptions, Name};
use crate::vertex::Reporter;

/// How many layers are offered to the registry's queue at once.
const OFFERED: usize = 16;
/// The pieces in which a blob is read, in bytes.
const READ: usize = 256 << 10;

/// Names the image, and pushes it if that is wanted.
pub(crate) async fn name_and_push(
    context: &ExportContext,
    options: &ExportOptions,
    image: &Image,
    names: &[Name],
    reporter: &Reporter,
) -> Result<(), ExportError> {
    if options.push && names.is_empty() {
        return Err(ExportError::Unnamed);
    }
    if options.store {
        let images = Images::of(&context.store);
        let requester = context.requester(reporter);
        for name in names_to_store(options, image, names)? {
            let status = reporter.status(format!("naming to {name}"));
            // What is pushed can be had from where it is pushed to.
            let completed = (!options.push).then_some(&requester);
            let put = images.put(&name, image, completed).await;
            put.map_err(|source| ExportError::Name { name: name.to_string(), source })?;
            status.done();
        }
    }
    if options.push {
        for name in names {
            let push = Push::new(context, options, name)?;
            push.image(image, reporter).await?;
        }
    }
    Ok(())
}

/// The names given, and those that contain the digest.
fn names_to_store(
    options: &ExportOptions,
    image: &Image,
    names: &[Name],
) -> Result<Vec<Reference>, ExportError> {
    let digest = &image.root.digest;
    let mut all: Vec<Reference> = names.iter().map(|name| name.reference.clone()).collect();
    if options.name_canonical {
        let canonical = names.iter().map(|name| bare(&name.reference));
        let canonical = canonical.collect::<Result<Vec<_>, _>>()?;
        all.extend(canonical.iter().map(|name| name.with_digest(digest.clone())));
    }
    if let Some(prefix) = &options.dangling_name_prefix
        && (names.is_empty() || !options.dangling_only_if_unnamed)
    {
        let dangling = Name::parse_list(&format!("{prefix}@{digest}"))?;
        all.extend(dangling.into_iter().map(|name| name.reference));
    }
    let mut seen = BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    Ok(all)
}

/// The repository alone.
fn bare(reference: &Reference) -> Result<Reference, crate::OptionError> {
    let name = reference.name();
    Reference::parse_untagged(&name).map_err(|source| crate::OptionError::Name { name, source })
}

/// A push to one name.
struct Push<'a> {
    context: &'a ExportContext,
    registry: Registry,
    /// What is pushed to: with a tag, or without one if that is wanted.
    target: Reference,
    repository: Reference,
}

impl<'a> Push<'a> {
    fn new(
        context: &'a ExportContext,
        options: &ExportOptions,
        name: &Name,
    ) -> Result<Self, ExportError> {
        let repository = bare(&name.reference)?;
        let target =
            if options.push_by_digest { repository.clone() } else { name.reference.clone() };
        let registry = match options.insecure {
            true => insecure(target.domain()),
            false => context.registry.clone(),
        };
        Ok(Self { context, registry, target, repository })
    }

    async fn image(&self, image: &Image, reporter: &Reporter) -> Result<(), ExportError> {
        let status = reporter.status("pushing layers");
        let layers = image.layers();
        let requester = self.context.requester(reporter);
        let mut pushes = Vec::new();
        for layer in layers.into_iter().filter(|layer| !layer.is_nondistributable()) {
            let source = Arc::new(LayerBody::new(layer, &requester));
            pushes.push(async move {
                let pushed = self.blob(&layer.descriptor, source, &layer.origins).await;
                match pushed {
                    Ok(()) => Ok(()),
                    Err(error) => Err(damage(self.context, layer).await.unwrap_or(error)),
                }
            });
        }
        stream::iter(pushes).buffer_unordered(OFFERED).try_collect::<()>().await?;
        let mut sent = BTreeSet::new();
        for platform in &image.platforms {
            if sent.insert(&platform.config.descriptor.digest) {
                self.blob(
                    &platform.config.descriptor,
                    Arc::new(platform.config.bytes.clone()),
                    &[],
                )
                .await?;
            }
        }
        for document in image.attested.iter().flat_map(Attested::blobs) {
            if sent.insert(&document.descriptor.digest) {
                self.blob(&document.descriptor, Arc::new(document.bytes.clone()), &[]).await?;
            }
        }
        status.done();
        let mut parts: Vec<&Document> =
            image.platforms.iter().map(|image| &image.manifest).collect();
        let last = match &image.index {
            Some(index) => Some(index),
            None => parts.drain(..).next(),
        };
        parts.extend(image.attested.iter().map(|attested| &attested.manifest));
        let shown = self.target.with_digest(image.root.digest.clone());
        let status = reporter.status(format!("pushing manifest for {shown}"));
        for part in parts {
            let by_digest = self.repository.with_digest(part.descriptor.digest.clone());
            self.manifest(&by_digest, part).await?;
        }
        if let Some(last) = last {
            self.manifest(&self.target, last).await?;
        }
        status.done();
        Ok(())
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn BodySource>,
        origins: &[String],
    ) -> Result<(), ExportError> {
        let host = format!("{}/", self.target.domain());
        let origins: Vec<String> = origins
            .iter()
            .filter_map(|origin| origin.strip_prefix(&host))
            .map(Into::into)
            .collect();
        let credentials = self.context.credentials.as_ref();
        let pushed =
            self.registry.push_blob(&self.target, descriptor, source, &origins, credentials).await;
        pushed.map(|_| ()).map_err(|source| self.failed(source))
    }

    async fn manifest(&self, target: &Reference, document: &Document) -> Result<(), ExportError> {
        let credentials = self.context.credentials.as_ref();
        let media_type = &document.descriptor.media_type;
        let pushed =
            self.registry.push_manifest(target, media_type, document.bytes.clone(), credentials);
        pushed.await.map(|_| ()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: RegistryError) -> ExportError {
        ExportError::Push { reference: self.target.to_string(), source }
    }
}

/// Whether a layer was not taken because it is not what it was when it was made.
pub(crate) async fn damage(context: &ExportContext, layer: &ImageLayer) -> Option<ExportError> {
    let damage = context.store.damage(&layer.descriptor.digest).await;
    damage.map(ExportError::Damaged)
}

/// A registry that takes whatever certificate the host has, or none.
fn insecure(domain: &str) -> Registry {
    let config = HostConfig { http: Some(true), insecure: true, ..HostConfig::default() };
    let hosts = Hosts::new([(domain.to_owned(), config)].into());
    Registry::new(hosts, kiln_registry::Options::default())
}

/// The bytes of a layer, read as often as somebody wants them. One that is elsewhere is fetched when
/// they are wanted first, and so not at all if the registry takes it over from another repository.
pub(crate) struct LayerBody {
    layer: ImageLayer,
    requester: Requester,
}

impl LayerBody {
    pub(crate) fn new(layer: &ImageLayer, requester: &Requester) -> Self {
        Self { layer: layer.clone(), requester: requester.clone() }
    }
}

impl BodySource for LayerBody {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let (layer, requester) = (self.layer.clone(), self.requester.clone());
        let open = async move {
            let blob = layer.blob(&requester).await.map_err(io::Error::other)?;
            let file = tokio::fs::File::open(blob.path()).await?;
            // The handle goes with the stream: the blob may not be collected meanwhile.
            let chunks = ReaderStream::with_capacity(file, READ);
            Ok::<_, io::Error>(chunks.inspect(move |_| {
                let _: &Blob = &blob;
            }))
        };
        Box::pin(stream::once(open).try_flatten())
    }
}
