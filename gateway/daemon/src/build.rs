//! One build, from request to response.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_bridge::service::FrontendSession;
use kiln_bridge::{BuildBridge, BuildParts};
use kiln_engine::JobOptions;
use kiln_exporters::{ExportContext, Exported, ExportedImage};
use kiln_frontend::{Bridge, BuildInfo, BuildResult, Ref, Solve};
use kiln_graph::{LoadContext, ProxyNetwork};
use kiln_oci::Platform;
use kiln_progress::Sender;
use kiln_sources::Clients;
use kiln_wire::caps;
use kiln_wire::pb::Definition;
use kiln_wire::proto::control::{SolveRequest, SolveResponse};
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::builds::GatewayGuard;
use crate::caches::CacheOfBuild;
use crate::claims::{self, Claims, Recorded, Target};
use crate::daemon::Daemon;
use crate::platforms;
use crate::recording::Noted;
use crate::request::BuildRequest;
use crate::session_exporters;

/// How long a session may take to appear.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// A build that is asked for.
pub(crate) struct Build(BuildRequest);

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

impl Build {
    /// Decodes a request.
    ///
    /// # Errors
    ///
    /// What makes no sense in it, is not allowed here, or is not there yet.
    pub(crate) fn decode(request: SolveRequest, daemon: &Daemon) -> Result<Self, RichStatus> {
        let clouds = &daemon.0.imports.reach().clouds;
        BuildRequest::decode(request, daemon.0.settings.entitlements.clone(), clouds).map(Self)
    }

    /// Carries the build through the crates.
    ///
    /// # Errors
    ///
    /// Whatever ended it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels what only this build wanted.
    pub(crate) async fn run(
        mut self,
        daemon: &Daemon,
        progress: Sender,
        noted: &Noted,
    ) -> Result<Built, RichStatus> {
        let bridge = self.bridge(daemon, &progress);
        let built = self.run_on(&bridge, daemon, &progress).await;
        // While the job is there; why steps ran is asked of failed builds, too.
        if let Some(steps) = bridge.steps().await {
            noted.set(steps);
        }
        built
    }

    async fn run_on(
        &mut self,
        bridge: &BuildBridge,
        daemon: &Daemon,
        progress: &Sender,
    ) -> Result<Built, RichStatus> {
        let started = SystemTime::now();
        let network = crate::network::notice(&daemon.0.networks);
        let notices = self.0.notices.iter().cloned().chain(network);
        notices.for_each(|notice| bridge.notify(notice));
        bridge.import_caches(&self.0.cache_imports)?;
        // A client that is the frontend may look at its result until everything is exported.
        let (mut named, _seat) = self.result(daemon, bridge).await?;
        let targets = self.scanned(daemon, bridge, &mut named).await?;
        let cache = CacheOfBuild::new(daemon, bridge, named.clone(), &self.0.session);
        let result = bridge.results(named.clone()).await?;
        let claims = Claims::find(daemon, bridge, &self.0, started, targets, &named).await?;
        if self.0.session_exporter {
            let more = session_exporters::find(daemon, &self.0.session, &named).await?;
            self.0.add_exports(more)?.into_iter().for_each(|notice| bridge.notify(notice));
        }
        // What was built is kept while it is exported, whatever becomes of the export.
        let exported = self.export(daemon, &result, &claims, &cache, progress);
        let ((), exported) = tokio::join!(daemon.flush(), exported);
        let Exported { mut response, images } = exported?;
        // After the images: their layers are there by then, compressed as they want them.
        response.extend(cache.export(&self.0.cache_exports, progress).await?);
        let told = result.metadata.iter().filter(|(key, _)| key.starts_with("frontend."));
        response.extend(
            told.map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned())),
        );
        let builder = self.0.attestations.provenance.as_ref();
        let builder = builder.map_or("", |options| options.builder.as_str());
        let origin = Some(claims.for_history(builder, claims::is_single(&named)));
        if self.0.session_exporter {
            session_exporters::finalize(daemon, &self.0.session, &response).await?;
        }
        Ok(Built { response: SolveResponse { exporter_response: response }, images, origin })
    }

    /// The file systems of a result, to which scans are added that the client asks for.
    async fn scanned(
        &self,
        daemon: &Daemon,
        bridge: &BuildBridge,
        result: &mut BuildResult<Ref>,
    ) -> Result<Vec<Target>, RichStatus> {
        if result.held().next().is_none() {
            return Ok(Vec::new());
        }
        let targets = claims::targets(result, &daemon.0.worker.info().default_platform())?;
        let asked = self.0.options.get("platform").map(String::as_str);
        let made: Vec<Platform> = targets.iter().map(|target| target.platform.clone()).collect();
        let notices = platforms::notices(asked, &made, !claims::is_single(result));
        notices.into_iter().for_each(|notice| bridge.notify(notice));
        if let Some(scanner) = &self.0.attestations.scanner {
            let named = targets.iter();
            let named = named.filter_map(|target| Some((target.id.clone(), target.of.clone()?)));
            bridge.scan(scanner, &named.collect::<Vec<_>>(), result).await?;
        }
        Ok(targets)
    }

    fn bridge(&self, daemon: &Daemon, progress: &Sender) -> BuildBridge {
        let worker = daemon.0.worker.info();
        let info = BuildInfo::default()
            .with_options(self.0.options.clone().into_iter().collect())
            .with_workers(vec![
                kiln_frontend::Worker::default()
                    .with_id(worker.id.clone())
                    .with_labels(worker.labels.clone())
                    .with_platforms(daemon.0.worker.platforms()),
            ])
            .with_session_id(self.0.session.clone())
            .with_llb_caps(caps::LLB.iter().map(|cap| (*cap).to_owned()).collect())
            .with_gateway_caps(caps::GATEWAY.iter().map(|cap| (*cap).to_owned()).collect());
        let load = LoadContext {
            default_platform: info.default_platform(),
            session: self.0.session.clone(),
            lenders: BTreeMap::new(),
            entitlements: self.0.entitlements.clone(),
            devices: daemon.0.worker.devices().map(Arc::new),
            proxy_network: self.proxy_network(daemon).then(ProxyNetwork::default),
        };
        BuildBridge::new(BuildParts {
            worker: daemon.0.worker.clone(),
            job: daemon.0.engine.open(JobOptions {
                compatibility: self.0.compatibility,
                ..JobOptions::new(&self.0.session, progress.clone())
            }),
            load,
            frontends: Arc::clone(&daemon.0.frontends),
            progress: progress.clone(),
            info,
            inputs: self.0.inputs.clone(),
            frontend: self.0.frontend.clone(),
            producers: daemon.0.producers.clone(),
            policies: self.0.policies.clone(),
            imports: daemon.0.imports.clone(),
        })
    }

    /// Whether the network of steps is a proxy: the client may ask for it, and the operator for all builds.
    fn proxy_network(&self, daemon: &Daemon) -> bool {
        self.0.proxy_network || daemon.0.settings.proxy_network
    }

    async fn result(
        &self,
        daemon: &Daemon,
        bridge: &BuildBridge,
    ) -> Result<(BuildResult<Ref>, Option<GatewayGuard>), RichStatus> {
        match whose_graph(self.0.definition.as_ref(), &self.0.frontend)? {
            WhoseGraph::Request(definition) => {
                let definition = Some(definition.clone().into());
                Ok((bridge.solve(Solve::default().with_definition(definition)).await?, None))
            }
            WhoseGraph::Frontend(frontend) => Ok((bridge.call(frontend).await?, None)),
            WhoseGraph::Client => {
                let (session, returned) = FrontendSession::new(Arc::new(bridge.clone()));
                let open = daemon.0.builds.open_gateway(&self.0.id, session);
                let gone = || {
                    RichStatus::new(Code::Cancelled, "the client left without returning a result")
                };
                Ok((returned.await.map_err(|_| gone())??, Some(open)))
            }
        }
    }

    async fn export(
        &self,
        daemon: &Daemon,
        result: &BuildResult<kiln_worker::Ref>,
        claims: &Claims,
        cache: &CacheOfBuild,
        progress: &Sender,
    ) -> Result<Exported, RichStatus> {
        let options = self.0.attestations.provenance.as_ref();
        let claims = options.map(|options| claims.for_exporters(options)).transpose()?;
        if self.0.exports.is_empty() {
            return Ok(Exported::default());
        }
        let caller = daemon.0.sessions.get(&self.0.session, SESSION_TIMEOUT).await.ok();
        let clients = Clients::new(&daemon.0.sessions, [self.0.session.clone()]);
        let context = ExportContext {
            store: daemon.store().clone(),
            client: caller.map(|caller| Arc::new(caller) as Arc<dyn kiln_exporters::Client>),
            session: self.0.session.clone(),
            registry: daemon.0.registry.clone(),
            credentials: Arc::new(clients.logins()),
            progress: progress.clone(),
            platform: daemon.0.worker.info().default_platform(),
            clock: SystemTime::now,
            claims: claims.unwrap_or_default(),
            inline_cache: cache.inline(&self.0.cache_exports),
        };
        let exported = kiln_exporters::export(&self.0.exports, result, &context).await;
        exported.map_err(|error| {
            let error = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, &error);
            kiln_bridge::op_status(&error)
        })
    }
}

/// Who says what is built.
#[derive(Debug, PartialEq)]
enum WhoseGraph<'a> {
    /// The request itself.
    Request(&'a Definition),
    /// A frontend that is called by name.
    Frontend(&'a str),
    /// The client, over the gateway, while the request waits.
    Client,
}

/// Who says what is built. A definition that is there but has no ops is the empty result, as clients
/// write `FROM scratch`; only where there is none, and no frontend either, the client is asked.
fn whose_graph<'a>(
    definition: Option<&'a Definition>,
    frontend: &'a str,
) -> Result<WhoseGraph<'a>, RichStatus> {
    match (definition, frontend) {
        (Some(definition), "") => Ok(WhoseGraph::Request(definition)),
        (Some(definition), _) if !definition.def.is_empty() => {
            let message = "a request has either a definition or a frontend, not both";
            Err(RichStatus::new(Code::InvalidArgument, message))
        }
        (None, "") => Ok(WhoseGraph::Client),
        (_, frontend) => Ok(WhoseGraph::Frontend(frontend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_without_ops_is_a_result_and_not_a_missing_one() {
        let (empty, full) =
            (Definition::default(), Definition { def: vec!["op".into()], ..Definition::default() });
        assert_eq!(whose_graph(Some(&empty), "").unwrap(), WhoseGraph::Request(&empty));
        assert_eq!(whose_graph(Some(&full), "").unwrap(), WhoseGraph::Request(&full));
        assert_eq!(whose_graph(None, "").unwrap(), WhoseGraph::Client);
        assert_eq!(whose_graph(None, "f").unwrap(), WhoseGraph::Frontend("f"));
        assert_eq!(whose_graph(Some(&empty), "f").unwrap(), WhoseGraph::Frontend("f"));
        assert!(whose_graph(Some(&full), "f").is_err());
    }
}
