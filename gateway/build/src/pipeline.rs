//! One build, from what is asked to what is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use kiln_bridge::service::FrontendSession;
use kiln_bridge::{BuildBridge, BuildJobs, BuildParts};
use kiln_engine::JobOptions;
use kiln_exporters::{ExportContext, Exported, ExportedImage};
use kiln_frontend::{Bridge, BuildInfo, BuildResult, Ref, Solve};
use kiln_graph::{LoadContext, ProxyNetwork};
use kiln_oci::Platform;
use kiln_progress::Sender;
use kiln_sources::Clients;
use kiln_wire::caps;
use kiln_wire::proto::control::SolveResponse;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::Builder;
use crate::builds::GatewayGuard;
use crate::caches::CacheOfBuild;
use crate::claims::{self, Claims, Recorded, Target};
use crate::recording::Noted;
use crate::request::{Build, WhoseGraph};
use crate::session_exporters;

/// How long a session may take to appear.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of a build.
#[derive(Debug)]
pub(crate) struct Built {
    /// What the client is told.
    pub(crate) response: SolveResponse,
    /// The images that were exported, by the number of the export.
    pub(crate) images: BTreeMap<usize, ExportedImage>,
    /// Where the result comes from.
    pub(crate) origin: Option<Recorded>,
}

/// What came of an export.
struct Delivered {
    claims: Claims,
    exported: Exported,
}

impl Builder {
    /// Carries a build through the crates.
    ///
    /// # Errors
    ///
    /// Whatever ended it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels what only this build wanted.
    pub(crate) fn run<'a>(
        &'a self,
        build: Build,
        progress: Sender,
        noted: &'a Noted,
    ) -> BoxFuture<'a, Result<Built, RichStatus>> {
        Box::pin(async move {
            let bridge = self.bridge(&build, &progress);
            let built = self.run_on(&bridge, build, &progress).await;
            // While the job is there; why steps ran is asked of failed builds, too.
            if let Some(steps) = bridge.steps().await {
                noted.set(steps);
            }
            built
        })
    }

    async fn run_on(
        &self,
        bridge: &BuildBridge,
        mut build: Build,
        progress: &Sender,
    ) -> Result<Built, RichStatus> {
        let started = SystemTime::now();
        let notices = build.notices.iter().chain(&self.parts.notices);
        notices.for_each(|notice| bridge.notify(notice.clone()));
        bridge.import_caches(&build.cache_imports)?;
        // A client that is the frontend may look at its result until everything is exported.
        let (mut named, _gateway) = self.solve(&build, bridge).await?;
        let targets = self.scan(&build, bridge, &mut named).await?;
        if build.session_exporter {
            let more = session_exporters::find(self, &build.session, &named).await?;
            build.add_exports(more)?.into_iter().for_each(|notice| bridge.notify(notice));
        }
        let delivered = loop {
            let job = bridge.job();
            match self.deliver(&build, bridge, started, &named, &targets, progress).await {
                // Layers of a result may be elsewhere, and only be missed when they are exported.
                Err(error) if bridge.begins_again(&job, &error) => {}
                delivered => break delivered?,
            }
        };
        let Delivered { claims, exported: Exported { response, images } } = delivered;
        let builder = build.attestations.provenance.as_ref();
        let builder = builder.map_or("", |options| options.builder.as_str());
        let origin = Some(claims.for_history(builder, claims::is_single(&named)));
        if build.session_exporter {
            session_exporters::finalize(self, &build.session, &response).await?;
        }
        Ok(Built { response: SolveResponse { exporter_response: response }, images, origin })
    }

    /// Exports a result, and what leads to it, with what is claimed about it.
    async fn deliver(
        &self,
        build: &Build,
        bridge: &BuildBridge,
        started: SystemTime,
        named: &BuildResult<Ref>,
        targets: &[Target],
        progress: &Sender,
    ) -> Result<Delivered, RichStatus> {
        let cache = CacheOfBuild::new(self, bridge, named.clone(), &build.session);
        let result = bridge.results(named.clone()).await?;
        let claims = Claims::find(self, bridge, build, started, targets.to_vec(), named).await?;
        // What was built is kept while it is exported, whatever becomes of the export.
        let exported = self.export(build, &result, &claims, &cache, progress);
        let ((), exported) = tokio::join!(self.flush(), exported);
        let mut exported = exported?;
        // After the images: their layers are there by then, compressed as they want them.
        let cached = cache.export(&build.cache_exports, progress).await?;
        exported.response.extend(cached);
        exported.response.extend(said_by_frontend(&result));
        Ok(Delivered { claims, exported })
    }

    /// The bridge that the build's frontend asks, and that solves its graphs.
    fn bridge(&self, build: &Build, progress: &Sender) -> BuildBridge {
        let worker = self.parts.worker.info();
        let info = BuildInfo::default()
            .with_options(build.options.clone().into_iter().collect())
            .with_workers(vec![
                kiln_frontend::Worker::default()
                    .with_id(worker.id.clone())
                    .with_labels(worker.labels.clone())
                    .with_platforms(self.parts.worker.platforms()),
            ])
            .with_session_id(build.session.clone())
            .with_llb_caps(caps::LLB.iter().map(|cap| (*cap).to_owned()).collect())
            .with_gateway_caps(caps::GATEWAY.iter().map(|cap| (*cap).to_owned()).collect());
        // The client may ask for a proxy, and the operator for all builds.
        let proxied = build.proxy_network || self.parts.proxy_network;
        let load = LoadContext {
            default_platform: info.default_platform(),
            session: build.session.clone(),
            lenders: BTreeMap::new(),
            entitlements: build.entitlements.clone(),
            devices: self.parts.worker.containers().devices().map(Arc::new),
            proxy_network: proxied.then(ProxyNetwork::default),
        };
        BuildBridge::new(BuildParts {
            worker: self.parts.worker.clone(),
            jobs: BuildJobs::open(
                &self.parts.engine,
                JobOptions {
                    compatibility: build.compatibility,
                    ..JobOptions::new(&build.session, progress.clone())
                },
            ),
            load,
            frontends: Arc::clone(&self.parts.frontends),
            progress: progress.clone(),
            info,
            inputs: build.inputs.clone(),
            frontend: build.frontend.clone(),
            producers: self.producers.clone(),
            policies: build.policies.clone(),
            imports: self.parts.imports.clone(),
        })
    }

    /// What is built, by the graph of whoever says it.
    async fn solve(
        &self,
        build: &Build,
        bridge: &BuildBridge,
    ) -> Result<(BuildResult<Ref>, Option<GatewayGuard>), RichStatus> {
        match &build.graph {
            WhoseGraph::Request(definition) => {
                let definition = Some(definition.clone().into());
                Ok((bridge.solve(Solve::default().with_definition(definition)).await?, None))
            }
            WhoseGraph::Frontend => Ok((bridge.call(&build.frontend).await?, None)),
            WhoseGraph::Client => {
                let (session, returned) = FrontendSession::new(Arc::new(bridge.clone()));
                let open = self.builds.open_gateway(&build.id, session);
                let gone = || {
                    RichStatus::new(Code::Cancelled, "the client left without returning a result")
                };
                Ok((returned.await.map_err(|_| gone())??, Some(open)))
            }
        }
    }

    /// The file systems of a result, to which scans are added that the client asks for.
    async fn scan(
        &self,
        build: &Build,
        bridge: &BuildBridge,
        result: &mut BuildResult<Ref>,
    ) -> Result<Vec<Target>, RichStatus> {
        if result.held().next().is_none() {
            return Ok(Vec::new());
        }
        let targets = claims::targets(result, &self.parts.worker.info().default_platform())?;
        let made: Vec<Platform> = targets.iter().map(|target| target.platform.clone()).collect();
        let notices = build.platforms.notices(&made, !claims::is_single(result));
        notices.into_iter().for_each(|notice| bridge.notify(notice));
        if let Some(scanner) = &build.attestations.scanner {
            let named = targets.iter();
            let named = named.filter_map(|target| Some((target.id.clone(), target.of.clone()?)));
            bridge.scan(scanner, &named.collect::<Vec<_>>(), result).await?;
        }
        Ok(targets)
    }

    /// Writes the results to where the build says, with what is claimed about them.
    async fn export(
        &self,
        build: &Build,
        result: &BuildResult<kiln_worker::Ref>,
        claims: &Claims,
        cache: &CacheOfBuild,
        progress: &Sender,
    ) -> Result<Exported, RichStatus> {
        let options = build.attestations.provenance.as_ref();
        let claims = options.map(|options| claims.for_exporters(options)).transpose()?;
        if build.exports.is_empty() {
            return Ok(Exported::default());
        }
        let caller = self.parts.sessions.get(&build.session, SESSION_TIMEOUT).await.ok();
        let clients = Clients::new(&self.parts.sessions, [build.session.clone()]);
        let context = ExportContext {
            store: self.store().clone(),
            client: caller.map(|caller| Arc::new(caller) as Arc<dyn kiln_exporters::Client>),
            session: build.session.clone(),
            registry: self.parts.registry.clone(),
            credentials: Arc::new(clients.logins()),
            progress: progress.clone(),
            platform: self.parts.worker.info().default_platform(),
            clock: SystemTime::now,
            claims: claims.unwrap_or_default(),
            inline_cache: cache.inline(&build.cache_exports),
        };
        let exported = kiln_exporters::export(&build.exports, result, &context).await;
        exported.map_err(|error| kiln_bridge::failed_status(&error))
    }
}

/// What a frontend has the client told about its result.
fn said_by_frontend<R>(result: &BuildResult<R>) -> impl Iterator<Item = (String, String)> {
    let told = result.metadata.iter().filter(|(key, _)| key.starts_with("frontend."));
    told.map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned()))
}
