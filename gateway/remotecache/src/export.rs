//! Writes the cache of a build to every place it should go.
//!
//! Exports run at the same time, each in a vertex of its own. One that may fail is shown as a warning
//! when it does; any other ends the build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kiln_oci::{Descriptor, Digest, Index, Manifest, media_type};
use kiln_progress::Sender;
use kiln_registry::BodySource;
use kiln_solver::Step;
use kiln_store::PackError;

use crate::attributes::{CacheExport, ExportTo};
use crate::cloud::{CloudCache, annotate, layers_of};
use crate::collect::{BuildCache, ExportLayer};
use crate::config::{CACHE_CONFIG, CacheConfig};
use crate::import::believed;
use crate::origin::Cause;
use crate::progress::{Reporter, chain};
use crate::signing;
use crate::target::{self, CacheTarget, Target};

/// The key under which clients are given the descriptor of the manifest.
const MANIFEST: &str = "cache.manifest";

/// Why a cache was not exported.
#[derive(Debug, thiserror::Error)]
pub enum CacheExportError {
    /// A layer could not be made.
    #[error("failed to export cache to {name}")]
    Pack {
        /// The cache.
        name: String,
        /// What is wrong with the layer.
        source: PackError,
    },
    /// It could not be written.
    #[error("failed to export cache to {name}: error writing {what}")]
    Write {
        /// The cache.
        name: String,
        /// The blob or document.
        what: String,
        /// What the target said.
        source: Cause,
    },
}

/// Writes the cache of a build to every place that has blobs of its own, and gives what clients are
/// told about it. `trails` are the ways to the results of the build.
///
/// # Errors
///
/// The first failure of an export that may not fail.
///
/// # Cancellation
///
/// Dropping the future ends all writing; no manifest names what was not written.
pub fn export<'a>(
    exports: &'a [CacheExport],
    cache: &'a BuildCache,
    trails: &'a [Vec<Step>],
    progress: &'a Sender,
) -> BoxFuture<'a, Result<BTreeMap<String, String>, CacheExportError>> {
    Box::pin(async move {
        let far = exports.iter().enumerate().filter(|(_, export)| export.to != ExportTo::Inline);
        let runs = far.map(|(number, export)| async move {
            let id = format!("{}-cache-{number}", cache.session);
            let reporter = Reporter::start(progress, &id, title(&export.to));
            let run = Run { export, cache, trails, reporter: &reporter };
            let done = run.run().await;
            let text = done.as_ref().err().map(|error| chain(error));
            if let (Some(text), true) = (&text, export.ignore_error) {
                let short = format!("cache {} is not exported: {text}", export.name);
                reporter.warn(short, "the error is ignored, as ignore-error=true asks".into());
            }
            reporter.finish(text.as_deref());
            match done {
                Err(_) if export.ignore_error => Ok(None),
                done => done,
            }
        });
        let mut response = BTreeMap::new();
        for done in join_all(runs).await {
            response.extend(done?.map(|manifest| (MANIFEST.to_owned(), manifest)));
        }
        Ok(response)
    })
}

fn title(to: &ExportTo) -> &'static str {
    match to {
        ExportTo::Inline => "exporting inline cache",
        ExportTo::Local(_) => "exporting cache to client directory",
        ExportTo::Registry(_) => "exporting cache to registry",
        ExportTo::Cloud(cloud) => cloud.0.title(),
    }
}

/// One export.
struct Run<'a> {
    export: &'a CacheExport,
    cache: &'a BuildCache,
    trails: &'a [Vec<Step>],
    reporter: &'a Reporter,
}

impl Run<'_> {
    /// The descriptor of the manifest as JSON; `None` if there is nothing to export.
    async fn run(&self) -> Result<Option<String>, CacheExportError> {
        let name = || self.export.name.clone();
        let status = self.reporter.status("preparing build cache for export");
        let collected =
            self.cache.collect(self.trails, self.export.mode, self.export.compression).await;
        let mut chains =
            collected.map_err(|source| CacheExportError::Pack { name: name(), source })?;
        let mounts = (&self.export.mounts, self.export.compression);
        for problem in self.cache.add_mounts(mounts.0, mounts.1, &mut chains).await {
            self.reporter.warn(problem, "everything else is exported".into());
        }
        let (mut config, layers) = chains.config();
        status.done();
        if config.layers.is_empty() {
            self.reporter.status("skipping cache export for empty result").done();
            return Ok(None);
        }
        let opened = target::open(&self.export.to, self.cache.imports.reach(), &self.cache.session);
        let opened = opened.await.map_err(|source| self.failed("the cache", source))?;
        let Some(target) = opened else { return Ok(None) };
        let status = self.reporter.status("sending cache export");
        let layers: Vec<ExportLayer> = layers.into_iter().map(|layer| self.typed(layer)).collect();
        self.write_layers(&target, &layers).await?;
        let root = match target {
            Target::Manifests(target) => {
                self.sign(&mut config, layers.iter().map(|layer| layer.descriptor.clone()));
                let json = serde_json::to_vec(&config).unwrap_or_default();
                let config = self.write_document(&*target, CACHE_CONFIG, json.into()).await?;
                Some(self.write_manifest(&*target, config, &layers).await?)
            }
            Target::Objects(cloud) => {
                let annotated = annotate(&mut config, layers.iter().map(|layer| &layer.descriptor));
                annotated.map_err(|source| self.failed("the config", source))?;
                // As they will be read: the config has less to say of a layer than a manifest.
                let read = layers_of(&config).into_values();
                self.sign(&mut config, read);
                self.publish(&cloud, &config).await?;
                None
            }
        };
        status.done();
        Ok(root.and_then(|root| serde_json::to_string(&root).ok()))
    }

    /// Signs what readers will believe of a config and its layers, if that is asked for.
    fn sign(&self, config: &mut CacheConfig, layers: impl Iterator<Item = Descriptor>) {
        let Some(signer) = &self.export.signer else { return };
        let signature = signer.sign(&signing::statement(config, &believed(layers)));
        config.signatures = vec![signature];
        self.reporter.status(format!("signing as {}", signer.fingerprint())).done();
    }

    async fn publish(
        &self,
        cloud: &CloudCache,
        config: &CacheConfig,
    ) -> Result<(), CacheExportError> {
        let status = self.reporter.status("writing cache config");
        let json = serde_json::to_vec(config).unwrap_or_default();
        let put = Arc::clone(&cloud.0).publish(json.into()).await;
        put.map_err(|source| self.failed("the config", source))?;
        status.done();
        Ok(())
    }

    async fn write_layers(
        &self,
        target: &Target,
        layers: &[ExportLayer],
    ) -> Result<(), CacheExportError> {
        let mut seen = BTreeSet::new();
        let layers = layers.iter().filter(|layer| seen.insert(&layer.descriptor.digest));
        let writes: Vec<_> = layers
            .map(|layer| async move {
                let what = format!("layer {}", layer.descriptor.digest);
                let status = self.reporter.status(format!("writing {what}"));
                if let Err(source) = target.put_layer(layer).await {
                    // It may be refused because it is not what it was when it was made.
                    let damage = self.cache.store.damage(&layer.descriptor.digest).await;
                    let source = damage.map_or(source, Into::into);
                    return Err(self.failed(&what, source));
                }
                status.done();
                Ok(())
            })
            .collect();
        stream::iter(writes).buffer_unordered(target.offered()).try_collect::<()>().await
    }

    async fn write_document(
        &self,
        target: &dyn CacheTarget,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Descriptor, CacheExportError> {
        let descriptor = described(media_type, &bytes);
        let what = format!("config {}", descriptor.digest);
        let status = self.reporter.status(format!("writing {what}"));
        let body: Arc<dyn BodySource> = Arc::new(bytes);
        let put = target.put_blob(&descriptor, body, &[]).await;
        put.map_err(|source| self.failed(&what, source))?;
        status.done();
        Ok(descriptor)
    }

    async fn write_manifest(
        &self,
        target: &dyn CacheTarget,
        config: Descriptor,
        layers: &[ExportLayer],
    ) -> Result<Descriptor, CacheExportError> {
        let layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let (media_type, bytes) =
            manifest(config, layers, self.export.image_manifest, self.export.oci_types);
        let descriptor = described(media_type, &bytes);
        let kind = if self.export.image_manifest { "image manifest" } else { "manifest" };
        let what = format!("cache {kind} {}", descriptor.digest);
        let status = self.reporter.status(format!("writing {what}"));
        let put = target.put_manifest(&descriptor, bytes).await;
        put.map_err(|source| self.failed(&what, source))?;
        status.done();
        Ok(descriptor)
    }

    /// The layer with the media type that is asked for.
    fn typed(&self, mut layer: ExportLayer) -> ExportLayer {
        let media_type = &mut layer.descriptor.media_type;
        *media_type = layer_type(media_type, self.export.oci_types).to_owned();
        layer
    }

    fn failed(&self, what: &str, source: Cause) -> CacheExportError {
        CacheExportError::Write { name: self.export.name.clone(), what: what.to_owned(), source }
    }
}

fn described(media_type: &str, bytes: &Bytes) -> Descriptor {
    Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
}

/// The manifest of a cache, and its media type.
fn manifest(
    config: Descriptor,
    layers: Vec<Descriptor>,
    as_image: bool,
    oci_types: bool,
) -> (&'static str, Bytes) {
    if as_image {
        let media_type = media_type::OCI_MANIFEST;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type.into(),
            config,
            layers,
            annotations: BTreeMap::new(),
        };
        return (media_type, serde_json::to_vec(&manifest).unwrap_or_default().into());
    }
    let media_type = if oci_types { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
    let index = Index {
        schema_version: 2,
        media_type: media_type.into(),
        manifests: layers.into_iter().chain([config]).collect(),
        annotations: BTreeMap::new(),
    };
    (media_type, serde_json::to_vec(&index).unwrap_or_default().into())
}

/// Layers by family of media types: OCI's and Docker's.
const FAMILIES: &[(&str, &str)] = &[
    (media_type::OCI_LAYER, media_type::DOCKER_LAYER),
    (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
    (media_type::OCI_LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
    (media_type::OCI_NONDISTRIBUTABLE, media_type::DOCKER_FOREIGN),
    (media_type::OCI_NONDISTRIBUTABLE_GZIP, media_type::DOCKER_FOREIGN_GZIP),
];

/// The same layer in one of the two families; a type that is not known stays.
fn layer_type(own: &str, oci: bool) -> &str {
    let pair = FAMILIES.iter().find(|(as_oci, as_docker)| own == *as_oci || own == *as_docker);
    pair.map_or(own, |(as_oci, as_docker)| if oci { as_oci } else { as_docker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_a_cache_is_an_image_or_an_index_with_the_config_last() {
        let config = Descriptor::new(CACHE_CONFIG, Digest::sha256("config"), 6);
        let layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Digest::sha256("layer"), 5);
        let made = |as_image, oci| {
            let (media_type, bytes) = manifest(config.clone(), vec![layer.clone()], as_image, oci);
            (media_type, serde_json::from_slice::<serde_json::Value>(&bytes).unwrap())
        };
        let (media_type, image) = made(true, true);
        assert_eq!(
            (media_type, &image["mediaType"]),
            (media_type::OCI_MANIFEST, &media_type.into())
        );
        assert_eq!(image["config"]["mediaType"], CACHE_CONFIG);
        assert_eq!(image["layers"][0]["size"], 5);
        for (oci, expected) in [(true, media_type::OCI_INDEX), (false, media_type::DOCKER_INDEX)] {
            let (media_type, index) = made(false, oci);
            assert_eq!(media_type, expected);
            assert_eq!(index["manifests"][1]["mediaType"], CACHE_CONFIG);
        }
        assert_eq!(layer_type(media_type::DOCKER_LAYER_ZSTD, true), media_type::OCI_LAYER_ZSTD);
        assert_eq!(layer_type(media_type::OCI_LAYER, false), media_type::DOCKER_LAYER);
        assert_eq!(layer_type("other", true), "other");
    }
}
