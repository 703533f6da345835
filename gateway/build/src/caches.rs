//! Caches outside the daemon, as builds use them: what is exported of a build, and where results of
//! imported caches come from.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_bridge::BuildBridge;
use kiln_engine::{JobContext, OpError, Operator, Operators, Step};
use kiln_exporters::{CacheRecords, ClientError, InlineCache};
use kiln_frontend::{BuildResult, Ref, Refs};
use kiln_graph::Vertex;
use kiln_oci::Digest;
use kiln_remotecache::{
    BuildCache, CacheExport, CacheSigner, ExportTo, Imports, InlineLayers, InlineRecords,
};
use kiln_store::{Blob, Requester};
use kiln_wire::status::RichStatus;
use kiln_worker::Worker;

use crate::Builder;

/// A worker that finds results of imported caches, too.
pub struct WithImports {
    /// The worker.
    pub worker: Worker,
    /// The caches.
    pub imports: Imports,
}

#[async_trait]
impl Operators<kiln_worker::Ref> for WithImports {
    fn operator(
        &self,
        vertex: &Arc<Vertex>,
    ) -> Result<Arc<dyn Operator<kiln_worker::Ref>>, OpError> {
        self.worker.operator(vertex)
    }

    async fn save(
        &self,
        vertex: &Vertex,
        results: &[kiln_worker::Ref],
    ) -> Result<Vec<String>, OpError> {
        self.worker.save(vertex, results).await
    }

    async fn load(&self, job: &JobContext, saved: &str) -> Option<kiln_worker::Ref> {
        if !Imports::is_imported(saved) {
            return self.worker.load(job, saved).await;
        }
        let requester = Requester::of(job.sessions.ids(), &job.vertex, &job.progress);
        self.imports.load(saved, &requester).await
    }
}

/// What is exported of the cache of a build.
#[derive(Clone)]
pub(crate) struct CacheOfBuild {
    builder: Builder,
    bridge: BuildBridge,
    result: BuildResult<Ref>,
    session: String,
    /// Who signs what rides in images.
    signers: Vec<CacheSigner>,
}

impl CacheOfBuild {
    /// The cache of a build with this result.
    pub(crate) fn new(
        builder: &Builder,
        bridge: &BuildBridge,
        result: BuildResult<Ref>,
        session: &str,
    ) -> Self {
        let (builder, bridge) = (builder.clone(), bridge.clone());
        Self { builder, bridge, result, session: session.to_owned(), signers: Vec::new() }
    }

    /// The cache for the images of the build, if one of the exports asks for it.
    pub(crate) fn inline(&self, exports: &[CacheExport]) -> Option<Arc<dyn InlineCache>> {
        let inline = || exports.iter().filter(|export| export.to == ExportTo::Inline);
        let signers = inline().filter_map(|export| export.signer.clone()).collect();
        inline().next().map(|_| Arc::new(Self { signers, ..self.clone() }) as _)
    }

    /// Exports the cache to every other place, and gives what the client is told about it.
    pub(crate) fn export<'a>(
        &'a self,
        exports: &'a [CacheExport],
        progress: &'a kiln_progress::Sender,
    ) -> BoxFuture<'a, Result<std::collections::BTreeMap<String, String>, RichStatus>> {
        Box::pin(async move {
            if exports.iter().all(|export| export.to == ExportTo::Inline) {
                return Ok(Default::default());
            }
            let mut trails = Vec::new();
            for (_, one) in self.result.iter() {
                trails.extend(self.trail(one).await?);
            }
            let exported =
                kiln_remotecache::export(exports, &self.cache(), &trails, progress).await;
            exported.map_err(|error| {
                let error = OpError::from_error(kiln_engine::ErrorKind::Failed, &error);
                kiln_bridge::op_status(&error)
            })
        })
    }

    /// The way to a result, once all of it is saved; `None` for the empty one.
    async fn trail(&self, of: Option<&Ref>) -> Result<Option<Vec<Step>>, RichStatus> {
        let Some(of) = of else { return Ok(None) };
        self.builder.flush().await;
        self.bridge.trail(of).await.map(Some)
    }

    fn cache(&self) -> BuildCache {
        BuildCache {
            main: self.builder.cache(),
            imported: self.bridge.imported_caches(),
            store: self.builder.store().clone(),
            layers: self.bridge.worker().layers(),
            imports: self.builder.parts.imports.clone(),
            session: self.session.clone(),
            mount_key: kiln_container::cache_mount_key,
        }
    }
}

/// What imported caches know of cache mounts.
pub struct ImportedMounts(pub Imports);

#[async_trait]
impl kiln_container::CacheMounts for ImportedMounts {
    fn are_known(&self, requester: &Requester) -> bool {
        self.0.are_imported(&requester.sessions)
    }

    async fn find(&self, id: &str, requester: &Requester) -> Option<(Blob, Digest)> {
        self.0.mount(id, requester).await
    }
}

#[async_trait]
impl InlineCache for CacheOfBuild {
    async fn records(
        &self,
        platform: &str,
        stored: &[Digest],
        exported: &[Digest],
    ) -> Result<Option<CacheRecords>, ClientError> {
        let one = match &self.result.refs {
            Refs::Single(one) => one.as_ref(),
            Refs::ByPlatform(map) => map.get(platform).and_then(Option::as_ref),
        };
        let Some(trail) = self.trail(one).await? else { return Ok(None) };
        let layers = InlineLayers { stored, exported };
        let signers: Vec<&CacheSigner> = self.signers.iter().collect();
        let made = kiln_remotecache::inline(&self.cache(), &trail, layers, &signers).await?;
        Ok(made.map(|InlineRecords { records, signatures }| CacheRecords { records, signatures }))
    }
}
