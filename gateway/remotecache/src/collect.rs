//! What of a build is exported: the records on the way to its results, and which of them have results.
//!
//! Steps come in with the caches that know them, [`Chains`] go out. Layers that are not there yet as
//! they are to be written are made here; those of imported caches stay where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use kiln_cache::{CacheKey, CacheStore, ExportGraph, SavedResult};
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BodySource;
use kiln_solver::Step;
use kiln_store::{Blob, Compression, LayerBlob, PackError, Providers, Ref, Requester, Store};
use tokio_util::io::ReaderStream;

use crate::attributes::Mode;
use crate::chains::{ChainLayer, ChainResult, Chains, Item};
use crate::import::{ImportedCache, ImportedLayer, UNCOMPRESSED};
use crate::load::Imports;
use crate::origin::CacheOrigin;

/// The pieces in which a blob is read, in bytes.
const READ: usize = 256 << 10;

/// Begins the annotations of a layer with where it was pulled from.
const SOURCE: &str = "containerd.io/distribution.source.";

/// A layer of an exported result.
#[derive(Clone)]
pub(crate) struct ExportLayer {
    /// By what it is told from other layers.
    key: Digest,
    pub(crate) descriptor: Descriptor,
    pub(crate) body: Arc<dyn BodySource>,
    /// Repositories that are known to have the blob, as `host/repository`.
    pub(crate) origins: Vec<String>,
}

impl ChainLayer for ExportLayer {
    fn blob(&self) -> &Digest {
        &self.key
    }
}

/// A build whose cache can be exported.
pub struct BuildCache {
    /// The engine's own cache.
    pub main: Arc<dyn CacheStore>,
    /// The caches that the build imports.
    pub imported: Vec<Arc<ImportedCache>>,
    /// Where results are.
    pub store: Store,
    /// Who has those layers of results that are not there.
    pub layers: Arc<dyn Providers>,
    /// The imported caches of all builds.
    pub imports: Imports,
    /// In whose name layers of imported caches are read.
    pub session: String,
    /// How the store calls the directory of a cache mount.
    pub mount_key: fn(&str) -> String,
}

impl std::fmt::Debug for BuildCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildCache").field("imported", &self.imported).finish_non_exhaustive()
    }
}

/// How the layers of a result are to be had.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Those that are not there are made.
    Made(Compression),
    /// Only if all are there.
    Known(Compression),
    /// By diff id alone: the blobs are those of an image.
    DiffIds,
}

/// A step with its results.
struct Exported<'a> {
    step: &'a Step,
    /// Its results in whatever cache, the newest first.
    results: Vec<(Item, SavedResult)>,
}

impl BuildCache {
    /// The records for a cache with blobs of its own.
    pub(crate) async fn collect(
        &self,
        trails: &[Vec<Step>],
        mode: Mode,
        compression: Compression,
    ) -> Result<Chains<ExportLayer>, PackError> {
        let how = move |is_wanted| match is_wanted || mode == Mode::Max {
            true => How::Made(compression),
            false => How::Known(compression),
        };
        self.chains(trails, how).await
    }

    /// The records for a cache that rides in an image: their layers are named by diff id.
    pub(crate) async fn collect_inline(
        &self,
        trails: &[Vec<Step>],
    ) -> Result<Chains<ExportLayer>, PackError> {
        self.chains(trails, |_| How::DiffIds).await
    }

    async fn chains(
        &self,
        trails: &[Vec<Step>],
        how: impl Fn(bool) -> How,
    ) -> Result<Chains<ExportLayer>, PackError> {
        let (main, imported) = (Arc::clone(&self.main), self.imported.clone());
        let owned = trails.to_vec();
        // Reads the index on disk.
        let graphs = tokio::task::spawn_blocking(move || graphs(&*main, &imported, &owned));
        let graphs = graphs.await.unwrap_or_default();
        let mut chains = Chains::default();
        let exported = link(&mut chains, &graphs, trails);
        let mut wanted: BTreeSet<&Digest> =
            trails.iter().filter_map(|trail| trail.last()).map(|step| &step.vertex.id).collect();
        // What is made of others comes first, because who has a result does not need theirs.
        for exported in exported.iter().rev() {
            let step = exported.step;
            let is_wanted = wanted.contains(&step.vertex.id);
            let (inputs, asked) = (step.vertex.inputs.len(), step.vertex.metadata.export_cache);
            let result = match exports_result(inputs, asked, step.was_run) {
                true => self.result(exported, how(is_wanted)).await?,
                false => None,
            };
            match result {
                Some((item, result)) => chains.add_result(item, result),
                None if is_wanted => {
                    wanted.extend(step.vertex.inputs.iter().map(|input| &input.vertex));
                }
                None => {}
            }
        }
        Ok(chains)
    }

    /// The newest result of a step whose layers can be had.
    async fn result(
        &self,
        exported: &Exported<'_>,
        how: How,
    ) -> Result<Option<(Item, ChainResult<ExportLayer>)>, PackError> {
        for (item, saved) in &exported.results {
            let layers = match Imports::is_imported(&saved.id) {
                true => self.imported_layers(&saved.id, how).await,
                false => self.own_layers(&saved.id, how).await?,
            };
            if let Some(layers) = layers.filter(|layers| !layers.is_empty()) {
                let result = ChainResult { created: saved.created, layers };
                return Ok(Some((*item, result)));
            }
        }
        Ok(None)
    }

    async fn own_layers(
        &self,
        saved: &str,
        how: How,
    ) -> Result<Option<Vec<ExportLayer>>, PackError> {
        // The empty text stands for the empty result.
        let Ok(files) = self.store.load_lazy(saved, &*self.layers).await else { return Ok(None) };
        let requester = self.requester();
        let layers = match how {
            How::DiffIds => return Ok(files.diff_ids().map(by_diff_ids)),
            How::Made(compression) => {
                Some(self.store.layer_blobs(&files, compression, &requester, &|_| {}).await?)
            }
            How::Known(compression) => self.store.known_layer_blobs(&files, compression),
        };
        let layers = layers.into_iter().flatten();
        Ok(Some(layers.map(|layer| self.own_layer(layer, &files)).collect()))
    }

    fn own_layer(&self, layer: LayerBlob, files: &Ref) -> ExportLayer {
        let LayerBlob { descriptor, diff_id } = layer;
        let digest = descriptor.digest.clone();
        let body = ResultBody { files: files.clone(), digest, requester: self.requester() };
        export_layer(descriptor, Some(&diff_id), Arc::new(body))
    }

    /// For whom layers are fetched that are neither here nor where they are to be.
    fn requester(&self) -> Requester {
        Requester { sessions: vec![self.session.clone()], ..Requester::nobody() }
    }

    async fn imported_layers(&self, saved: &str, how: How) -> Option<Vec<ExportLayer>> {
        let (cache, number) = self.imports.find(saved)?;
        let layers = cache.result(number)?;
        if let How::DiffIds = how {
            let diff_ids: Option<Vec<Digest>> =
                layers.iter().map(|layer| layer.diff_id.clone()).collect();
            return diff_ids.map(by_diff_ids);
        }
        let mut exported = Vec::with_capacity(layers.len());
        for ImportedLayer { descriptor, diff_id } in layers.iter().cloned() {
            let body: Arc<dyn BodySource> = match self.store.blob(&descriptor.digest) {
                Some(blob) => Arc::new(StoredBody(blob)),
                // What is gone there cannot be passed on.
                None => Arc::new(self.far(&cache, &descriptor).await?),
            };
            exported.push(export_layer(descriptor, diff_id.as_ref(), body));
        }
        Some(exported)
    }

    /// A blob of an imported cache, if it is there.
    async fn far(&self, cache: &ImportedCache, descriptor: &Descriptor) -> Option<FarBody> {
        let session = self.session.clone();
        let has = cache.has(std::slice::from_ref(&session), descriptor).await;
        let (origin, descriptor) = (Arc::clone(&cache.origin), descriptor.clone());
        has.then_some(FarBody { origin, session, descriptor })
    }
}

/// Whether the result of a step is exported: sources can be had again, and some steps are not wanted
/// once they were found. One that ran is exported whatever is said, as by BuildKit.
fn exports_result(inputs: usize, export_cache: Option<bool>, was_run: bool) -> bool {
    inputs > 0 && (was_run || export_cache != Some(false))
}

/// The graphs of all caches that lead to the records of steps; that of the engine's own comes first.
fn graphs(
    main: &dyn CacheStore,
    imported: &[Arc<ImportedCache>],
    trails: &[Vec<Step>],
) -> Vec<ExportGraph> {
    let keys = |of: fn(&Step) -> &Vec<CacheKey>| -> Vec<CacheKey> {
        let keys: BTreeSet<CacheKey> = trails.iter().flatten().flat_map(of).copied().collect();
        keys.into_iter().collect()
    };
    let found = keys(|step| &step.found);
    let own = main.export_graph(&keys(|step| &step.records));
    let imported = imported.iter().map(|cache| cache.graph(&found));
    std::iter::once(own).chain(imported).collect()
}

/// Puts the graphs together; every step of the trails once, each after those that it reads.
fn link<'a, L>(
    chains: &mut Chains<L>,
    graphs: &[ExportGraph],
    trails: &'a [Vec<Step>],
) -> Vec<Exported<'a>> {
    let mut items: Vec<BTreeMap<CacheKey, Item>> = Vec::new();
    let mut results: BTreeMap<(usize, CacheKey), &Vec<SavedResult>> = BTreeMap::new();
    for (number, graph) in graphs.iter().enumerate() {
        items.push(chains.add_graph(graph));
        results.extend(graph.records.iter().map(|record| ((number, record.key), &record.results)));
    }
    let mut seen = BTreeSet::new();
    let steps = trails.iter().flatten();
    let steps = steps.filter(|step| seen.insert((&step.vertex.id, step.output)));
    let exported = steps.map(|step| {
        let mut exported = Exported { step, results: Vec::new() };
        for (number, items) in items.iter().enumerate() {
            let keys = if number == 0 { &step.records } else { &step.found };
            for key in keys {
                let Some(item) = items.get(key) else { continue };
                let of_record = results.get(&(number, *key)).into_iter().copied().flatten();
                exported.results.extend(of_record.map(|result| (*item, result.clone())));
            }
        }
        // Those of equal age stay in the order of the caches.
        exported.results.sort_by_key(|(_, result)| std::cmp::Reverse(result.created));
        exported
    });
    exported.collect()
}

/// Layers of which nothing but the diff id matters.
fn by_diff_ids(diff_ids: Vec<Digest>) -> Vec<ExportLayer> {
    let layer = |diff_id: Digest| ExportLayer {
        key: diff_id.clone(),
        descriptor: Descriptor::new("", diff_id, 0),
        body: Arc::new(Bytes::new()),
        origins: Vec::new(),
    };
    diff_ids.into_iter().map(layer).collect()
}

/// A layer as it stands in the manifest of a cache, OCI's media types for now.
fn export_layer(
    mut descriptor: Descriptor,
    diff_id: Option<&Digest>,
    body: Arc<dyn BodySource>,
) -> ExportLayer {
    let repositories = descriptor.annotations.iter().filter_map(|(key, list)| {
        let host = key.strip_prefix(SOURCE)?;
        Some(list.split(',').map(move |repository| format!("{host}/{repository}")))
    });
    let origins = repositories.flatten().collect();
    descriptor.annotations.retain(|key, _| !key.starts_with(SOURCE));
    if let Some(diff_id) = diff_id {
        descriptor.annotations.insert(UNCOMPRESSED.into(), diff_id.to_string());
    }
    descriptor.urls.clear();
    descriptor.platform = None;
    ExportLayer { key: descriptor.digest.clone(), descriptor, body, origins }
}

/// A layer whose blob is in the store, and stays there while this lives.
pub(crate) fn stored_layer(layer: LayerBlob, blob: Blob) -> ExportLayer {
    export_layer(layer.descriptor, Some(&layer.diff_id), Arc::new(StoredBody(blob)))
}

/// A layer of a result. It is fetched only if somebody wants its bytes.
struct ResultBody {
    files: Ref,
    digest: Digest,
    requester: Requester,
}

impl BodySource for ResultBody {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let (files, digest) = (self.files.clone(), self.digest.clone());
        let requester = self.requester.clone();
        let open = async move {
            let blob = files.blob(&digest, &requester).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(stored(blob))
        };
        stream::once(open).try_flatten().boxed()
    }
}

/// A blob of the store.
struct StoredBody(Blob);

impl BodySource for StoredBody {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        stored(self.0.clone())
    }
}

fn stored(blob: Blob) -> BoxStream<'static, io::Result<Bytes>> {
    let open = async move {
        let file = tokio::fs::File::open(blob.path()).await?;
        let chunks = ReaderStream::with_capacity(file, READ);
        // The handle goes with the stream: the blob may not be collected meanwhile.
        Ok::<_, io::Error>(chunks.inspect(move |_| {
            let _: &Blob = &blob;
        }))
    };
    stream::once(open).try_flatten().boxed()
}

/// A blob of an imported cache, which goes from there to where it is exported.
struct FarBody {
    origin: Arc<dyn CacheOrigin>,
    session: String,
    descriptor: Descriptor,
}

impl BodySource for FarBody {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let blob = self.origin.blob(std::slice::from_ref(&self.session), &self.descriptor);
        blob.map_err(io::Error::other).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_ran_are_exported_and_others_unless_they_say_no() {
        assert!(exports_result(1, None, false));
        assert!(exports_result(1, Some(true), false));
        assert!(!exports_result(1, Some(false), false));
        assert!(exports_result(1, Some(false), true));
        assert!(!exports_result(0, None, true), "a source can be had again");
    }
}
