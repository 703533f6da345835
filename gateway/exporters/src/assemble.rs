//! Makes an image of a result: layers, configs, manifests and an index.
//!
//! A result comes in, an [`Image`] goes out; its layers are blobs in the store, its documents are
//! in memory. Nothing is sent or named here. What the config says is decided in [`crate::config`].

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiln_frontend::keys;
use kiln_oci::{Descriptor, Digest, Index, Manifest, Platform, media_type};
use kiln_store::{Blob, FillError, Layer, LayerBlob, Ref, Requester};
use time::OffsetDateTime;

use crate::annotation::Place;
use crate::attested::{self, Attested};
use crate::claims::Claims;
use crate::config::{self, ConfigParts};
use crate::error::ExportError;
use crate::options::{ExportOptions, Name};
use crate::target::{Target, Targets, epoch, keyed};
use crate::vertex::Reporter;
use crate::{CacheRecords, ExportContext, json};

/// When the image was made, in the descriptor that the client is told.
const CREATED: &str = "org.opencontainers.image.created";
/// The config's digest, likewise.
const CONFIG_DIGEST: &str = "config.digest";
/// The metadata that holds a cache to ride in the config.
const INLINE_CACHE: &str = "containerimage.inlinecache";

/// A document of an image: a config, a manifest or an index.
#[derive(Clone, Debug)]
pub struct Document {
    /// What is said of it where it is named.
    pub descriptor: Descriptor,
    /// Its text.
    pub bytes: Bytes,
}

impl Document {
    pub(crate) fn new(media_type: &str, text: String) -> Self {
        let bytes = Bytes::from(text);
        let digest = Digest::sha256(&bytes);
        Self { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes }
    }
}

/// A layer of an image, with the blob that holds it.
#[derive(Clone, Debug)]
pub(crate) struct ImageLayer {
    /// As it stands in the manifest.
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) bytes: LayerBytes,
    /// Repositories that are known to have the blob, as `host/repository`.
    pub(crate) origins: Vec<String>,
}

/// Where the bytes of a layer are.
#[derive(Clone, Debug)]
pub(crate) enum LayerBytes {
    /// In the store.
    Stored(Blob),
    /// In a layer of a result, which may be elsewhere.
    Of(Ref),
}

impl ImageLayer {
    /// The bytes, fetched if they are not here.
    pub(crate) async fn blob(&self, requester: &Requester) -> Result<Blob, FillError> {
        match &self.bytes {
            LayerBytes::Stored(blob) => Ok(blob.clone()),
            LayerBytes::Of(files) => files.blob(&self.descriptor.digest, requester).await,
        }
    }

    /// Whether it says of itself that it may not be passed on.
    pub(crate) fn is_nondistributable(&self) -> bool {
        NONDISTRIBUTABLE.iter().any(|(kept, _)| *kept == self.descriptor.media_type)
    }
}

/// The image of one platform.
#[derive(Clone, Debug)]
pub(crate) struct PlatformImage {
    pub(crate) platform: Platform,
    pub(crate) manifest: Document,
    pub(crate) config: Document,
    pub(crate) layers: Vec<ImageLayer>,
    pub(crate) files: Option<Ref>,
}

/// An image of one or more platforms.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) platforms: Vec<PlatformImage>,
    /// The index, if there is one.
    pub(crate) index: Option<Document>,
    /// The attestations, which only an index can name.
    pub(crate) attested: Vec<Attested>,
    /// What names point to: the index or the only manifest.
    pub(crate) root: Descriptor,
}

impl Image {
    /// Makes the image. `metadata` is the result's, with what the client overrides.
    pub(crate) async fn assemble(
        context: &ExportContext,
        options: &ExportOptions,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
        claims: Claims<'_>,
        names: &[Name],
        reporter: &Reporter,
    ) -> Result<Self, ExportError> {
        let inline = options.attestation_inline;
        let multi =
            targets.multi || targets.list.iter().any(|target| claims.any(&target.id, inline));
        let is_attested = multi && targets.list.iter().any(|target| claims.any(&target.id, true));
        if is_attested && !options.oci_types {
            return Err(ExportError::AttestationTypes);
        }
        let mut options = options.clone();
        options.annotations = all_annotations(&options, metadata)?;
        if !multi && options.annotations.need_index() {
            return Err(ExportError::IndexAnnotations);
        }
        let assembly = Assembly { context, options: &options, metadata, multi, reporter };
        let layers = assembly.layers(&targets.list).await?;
        let mut platforms = Vec::new();
        for (target, layers) in targets.list.iter().zip(layers) {
            let cache = assembly.inline_cache(target, &layers).await?;
            platforms.push(assembly.platform_image(target, layers, cache.as_ref())?);
        }
        if multi {
            let ids = targets.list.iter().map(|target| target.id.as_str());
            let attested = assembly.attested(ids.zip(&platforms), claims, names).await?;
            return Ok(assembly.with_index(platforms, attested));
        }
        let mut root = match platforms.first() {
            Some(image) => image.manifest.descriptor.clone(),
            // A list of targets is never empty.
            None => return Ok(assembly.with_index(platforms, Vec::new())),
        };
        if targets.named {
            root.platform = platforms.first().map(|image| image.platform.clone());
        }
        Ok(Self { platforms, index: None, attested: Vec::new(), root })
    }

    /// Adds when the image was made to the descriptor that clients see.
    pub(crate) fn date(&mut self, time: OffsetDateTime) {
        let seconds = time.replace_nanosecond(0).unwrap_or(time);
        self.root.annotations.entry(CREATED.into()).or_insert_with(|| config::text(seconds));
    }

    /// What the client is told about the image.
    pub(crate) fn response(&self, with_config: bool) -> BTreeMap<String, String> {
        let mut descriptor = self.root.clone();
        let mut response =
            BTreeMap::from([("containerimage.digest".to_owned(), self.root.digest.to_string())]);
        if let (None, Some(image)) = (&self.index, self.platforms.first()) {
            let digest = image.config.descriptor.digest.to_string();
            if with_config {
                descriptor.annotations.insert(CONFIG_DIGEST.into(), digest.clone());
            }
            response.insert("containerimage.config.digest".into(), digest);
        }
        let descriptor = STANDARD.encode(json::compact(&descriptor));
        response.insert("containerimage.descriptor".into(), descriptor);
        response
    }

    /// Every document, those that are named by others before those that name them.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Document> {
        let parts = self.platforms.iter().flat_map(|image| [&image.config, &image.manifest]);
        parts.chain(self.attested.iter().flat_map(Attested::documents)).chain(&self.index)
    }

    /// Every layer once, in order.
    pub(crate) fn layers(&self) -> Vec<&ImageLayer> {
        let mut seen = std::collections::BTreeSet::new();
        let all = self.platforms.iter().flat_map(|image| &image.layers);
        all.filter(|layer| seen.insert(layer.descriptor.digest.clone())).collect()
    }
}

/// Annotations of the frontend and of the client; where both have a key the client's counts.
fn all_annotations(
    options: &ExportOptions,
    metadata: &BTreeMap<String, Bytes>,
) -> Result<crate::Annotations, ExportError> {
    let mut annotations = crate::Annotations::default();
    for (key, value) in metadata {
        annotations.take(key, &String::from_utf8_lossy(value))?;
    }
    annotations.merge(options.annotations.clone());
    Ok(annotations)
}

struct Assembly<'a> {
    context: &'a ExportContext,
    options: &'a ExportOptions,
    metadata: &'a BTreeMap<String, Bytes>,
    multi: bool,
    reporter: &'a Reporter,
}

impl Assembly<'_> {
    /// The layers of every target, as blobs.
    async fn layers(
        &self,
        targets: &[Target<'_, Ref>],
    ) -> Result<Vec<Vec<ImageLayer>>, ExportError> {
        let status = self.reporter.status("exporting layers");
        let mut all = Vec::new();
        for target in targets {
            let layers = match target.files {
                Some(files) => self.layers_of(target, files).await?,
                None => Vec::new(),
            };
            all.push(layers);
        }
        status.done();
        Ok(all)
    }

    async fn layers_of(
        &self,
        target: &Target<'_, Ref>,
        files: &Ref,
    ) -> Result<Vec<ImageLayer>, ExportError> {
        let (store, compression) = (&self.context.store, self.options.compression);
        let epoch = epoch(self.options, self.metadata, &target.id)?;
        let clamp = epoch.filter(|_| self.options.rewrite_timestamp);
        let base = keyed(self.metadata, keys::BASE_CONFIG, &target.id);
        // The layers of the base image stay what they are.
        let kept = match clamp {
            Some(_) => base.map_or(0, config::layer_count).min(files.layers().len()),
            None => files.layers().len(),
        };
        let requester = self.context.requester(self.reporter);
        let mut blobs = Vec::new();
        if kept > 0 {
            blobs = store.layer_blobs(files, compression, &requester, &|_| {}).await?;
            blobs.truncate(kept);
        }
        if let Some(epoch) = clamp {
            let seconds = epoch.unix_timestamp();
            let new = store
                .clamped_layer_blobs(files, kept, compression, seconds, &requester, &|_| {})
                .await?;
            blobs.extend(new.into_iter().map(|mut blob| {
                let annotations = &mut blob.descriptor.annotations;
                annotations.insert(REWRITTEN.to_owned(), seconds.to_string());
                blob
            }));
        }
        Ok(blobs.into_iter().map(|blob| self.layer(blob, files)).collect())
    }

    fn layer(&self, layer: LayerBlob, files: &Ref) -> ImageLayer {
        let LayerBlob { mut descriptor, diff_id } = layer;
        let origins = origins(&descriptor);
        let keep = self.options.prefer_nondistributable && !descriptor.urls.is_empty();
        if !keep {
            descriptor.urls.clear();
        }
        descriptor.media_type = layer_type(&descriptor.media_type, self.options.oci_types, keep);
        descriptor.platform = None;
        if self.options.oci_types {
            descriptor.annotations.retain(|key, _| !is_internal(key));
        } else {
            descriptor.annotations.clear();
        }
        ImageLayer { descriptor, diff_id, bytes: LayerBytes::Of(files.clone()), origins }
    }

    /// The cache for the image of a platform, from the build or else from the frontend.
    async fn inline_cache(
        &self,
        target: &Target<'_, Ref>,
        layers: &[ImageLayer],
    ) -> Result<Option<CacheRecords>, ExportError> {
        let given = keyed(self.metadata, INLINE_CACHE, &target.id);
        let Some(cache) = &self.context.inline_cache else {
            let given = given.map(<[u8]>::to_vec);
            return Ok(given.map(|records| CacheRecords { records, signatures: Vec::new() }));
        };
        let status = self.reporter.status("preparing layers for inline cache");
        // Results are known by the layers as the store has them, whatever times the image's have.
        let stored = target.files.and_then(Ref::diff_ids);
        let stored = stored.filter(|diff_ids| diff_ids.len() == layers.len());
        let own: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let records = cache.records(&target.id, stored.as_ref().unwrap_or(&own), &own).await;
        status.done();
        records.map_err(ExportError::InlineCache)
    }

    fn platform_image(
        &self,
        target: &Target<'_, Ref>,
        layers: Vec<ImageLayer>,
        inline_cache: Option<&CacheRecords>,
    ) -> Result<PlatformImage, ExportError> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = config::finish(&ConfigParts {
            config: keyed(self.metadata, keys::IMAGE_CONFIG, &target.id),
            base: keyed(self.metadata, keys::BASE_CONFIG, &target.id),
            inline_cache,
            platform: &target.platform,
            diff_ids: &diff_ids,
            epoch: epoch(self.options, self.metadata, &target.id)?,
            made: &self.made(target),
        })?;
        let (manifest_type, config_type) = match self.options.oci_types {
            true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
            false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
        };
        let config = Document::new(config_type, config);
        let platform = self.multi.then_some(&target.platform);
        let annotations = &self.options.annotations;
        let manifest = Manifest {
            schema_version: 2,
            media_type: manifest_type.into(),
            config: config.descriptor.clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: annotations.at(Place::Manifest, Some(&target.platform)),
        };
        let mut manifest = Document::new(manifest_type, json::pretty(&manifest));
        manifest.descriptor.annotations = annotations.at(Place::ManifestDescriptor, platform);
        manifest.descriptor.platform = platform.cloned();
        self.reporter.note(format!("exporting manifest {}", manifest.descriptor.digest));
        self.reporter.note(format!("exporting config {}", config.descriptor.digest));
        Ok(PlatformImage {
            platform: target.platform.clone(),
            manifest,
            config,
            layers,
            files: target.files.cloned(),
        })
    }

    /// When each layer was made, so that exporting a result again gives the same image.
    fn made(&self, target: &Target<'_, Ref>) -> Vec<OffsetDateTime> {
        let layers = target.files.map(Ref::layers).unwrap_or_default();
        let now = || (self.context.clock)();
        let time = |layer: &Layer| layer_made(layer).unwrap_or_else(now).into();
        layers.iter().map(|layer| time(layer)).collect()
    }

    /// The attestations of every platform that has some.
    async fn attested<'p>(
        &self,
        platforms: impl Iterator<Item = (&'p str, &'p PlatformImage)>,
        claims: Claims<'_>,
        names: &[Name],
    ) -> Result<Vec<Attested>, ExportError> {
        let mut all = Vec::new();
        for (id, image) in platforms.filter(|(id, _)| claims.any(id, true)) {
            let requester = self.context.requester(self.reporter);
            let mut predicates = claims.predicates(id, true, &requester).await?;
            let (files, layers) = (image.files.as_ref(), &image.layers);
            attested::supplement(&mut predicates, files, layers, &requester).await?;
            let attested = Attested::new(image, names, &predicates, self.options.artifact)?;
            let digest = &attested.manifest.descriptor.digest;
            self.reporter.note(format!("exporting attestation manifest {digest}"));
            all.push(attested);
        }
        Ok(all)
    }

    fn with_index(&self, platforms: Vec<PlatformImage>, attested: Vec<Attested>) -> Image {
        let index_type = match self.options.oci_types {
            true => media_type::OCI_INDEX,
            false => media_type::DOCKER_INDEX,
        };
        let images = platforms.iter().map(|image| &image.manifest);
        let manifests = images.chain(attested.iter().map(|attested| &attested.manifest));
        let index = Index {
            schema_version: 2,
            media_type: index_type.into(),
            manifests: manifests.map(|manifest| manifest.descriptor.clone()).collect(),
            annotations: self.options.annotations.at(Place::Index, None),
        };
        let index = Document::new(index_type, json::pretty(&index));
        self.reporter.note(format!("exporting manifest list {}", index.descriptor.digest));
        let mut root = index.descriptor.clone();
        root.annotations = self.options.annotations.at(Place::IndexDescriptor, None);
        Image { platforms, index: Some(index), attested, root }
    }
}

/// Layers by family of media types: OCI's and Docker's.
const FAMILIES: &[(&str, &str)] = &[
    (media_type::OCI_LAYER, media_type::DOCKER_LAYER),
    (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
    (media_type::OCI_LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
    (media_type::OCI_NONDISTRIBUTABLE, media_type::DOCKER_FOREIGN),
    (media_type::OCI_NONDISTRIBUTABLE_GZIP, media_type::DOCKER_FOREIGN_GZIP),
];

/// Layers that may not be passed on, and the same without that reservation.
const NONDISTRIBUTABLE: &[(&str, &str)] = &[
    (media_type::OCI_NONDISTRIBUTABLE, media_type::OCI_LAYER),
    (media_type::OCI_NONDISTRIBUTABLE_GZIP, media_type::OCI_LAYER_GZIP),
    (media_type::OCI_NONDISTRIBUTABLE_ZSTD, media_type::OCI_LAYER_ZSTD),
    (media_type::DOCKER_FOREIGN, media_type::DOCKER_LAYER),
    (media_type::DOCKER_FOREIGN_GZIP, media_type::DOCKER_LAYER_GZIP),
];

/// The same layer in the other family of media types; ones that are not known stay.
fn layer_type(own: &str, oci: bool, keep_nondistributable: bool) -> String {
    let plain = NONDISTRIBUTABLE.iter().find(|(kept, _)| own == *kept && !keep_nondistributable);
    let own = plain.map_or(own, |(_, plain)| plain);
    let pair = FAMILIES.iter().find(|(oci, docker)| own == *oci || own == *docker);
    pair.map_or(own, |(as_oci, as_docker)| if oci { as_oci } else { as_docker }).to_owned()
}

/// What a layer says whose files were made not to be later than a time.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

const ORIGIN: &str = "containerd.io/distribution.source.";

/// Annotations that are for the builder only.
fn is_internal(key: &str) -> bool {
    key == "containerd.io/uncompressed" || key == "buildkit/createdat" || key.starts_with(ORIGIN)
}

/// The repositories that a layer came from, as `host/repository`.
fn origins(descriptor: &Descriptor) -> Vec<String> {
    let repositories = descriptor.annotations.iter().filter_map(|(key, list)| {
        let host = key.strip_prefix(ORIGIN)?;
        Some(list.split(',').map(move |repository| format!("{host}/{repository}")))
    });
    repositories.flatten().collect()
}

/// When the newest layer was made, if that can be told.
pub(crate) fn made(target: &Target<'_, Ref>) -> Option<SystemTime> {
    layer_made(target.files?.layers().last()?)
}

/// When a layer was made, if that can be told.
fn layer_made(layer: &Layer) -> Option<SystemTime> {
    // A layer that was imported is as old as it was there.
    let noted = layer.blobs().into_iter().find_map(|blob| {
        let text = blob.annotations.get("buildkit/createdat")?;
        OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
    });
    if let Some(noted) = noted {
        return Some(noted.into());
    }
    let time = layer.made()?;
    (time > SystemTime::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_change_family_and_back() {
        let docker = layer_type(media_type::OCI_LAYER_GZIP, false, false);
        assert_eq!(docker, media_type::DOCKER_LAYER_GZIP);
        assert_eq!(layer_type(&docker, true, false), media_type::OCI_LAYER_GZIP);
        assert_eq!(layer_type("application/x-unknown", false, false), "application/x-unknown");
        let foreign = media_type::DOCKER_FOREIGN_GZIP;
        assert_eq!(layer_type(foreign, true, true), media_type::OCI_NONDISTRIBUTABLE_GZIP);
        assert_eq!(layer_type(foreign, true, false), media_type::OCI_LAYER_GZIP);
    }

    #[test]
    fn origins_are_read_from_annotations_that_stay_inside() {
        let mut descriptor = Descriptor::new(media_type::OCI_LAYER, Digest::sha256("x"), 1);
        let key = format!("{ORIGIN}example.org:5000");
        descriptor.annotations.insert(key.clone(), "a/b,c".into());
        assert_eq!(origins(&descriptor), ["example.org:5000/a/b", "example.org:5000/c"]);
        assert!(is_internal(&key));
    }
}
