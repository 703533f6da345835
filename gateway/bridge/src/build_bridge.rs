//! The bridge of one build, inside the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_container::{Judge, JudgeGuard, fresh_caches, read};
use kiln_engine::{ErrorKind, JobContext, Sessions};
use kiln_frontend::containers::Containers;
use kiln_frontend::grpc::{platform_to_wire, source_from_wire, source_to_wire};
use kiln_frontend::{
    AttestationChain, Bridge, BuildInfo, BuildResult, ChecksumAlgorithm, ChecksumAnswer,
    ChecksumQuestion, FileRange, FileStat, FrontendError, GitFacts, HttpFacts, ImageConfigRequest,
    ImageFacts, Inputs, LayoutStore, Ref, ResolvedImage, Solve, SourceIdentifier, SourceMeta,
    SourcePolicy, SourceRequest, Timestamp, Warning,
};
use kiln_graph::{Edge, Entitlements, Graph, Identifier, LoadContext, ProxyNetwork};
use kiln_handle::{Handle, WeakHandle};
use kiln_llb::Definition;
use kiln_oci::{Digest, Platform};
use kiln_progress::{Progress, Sender, Vertex};
use kiln_provenance::Used;
use kiln_remotecache::Imports;
use kiln_sources::{Attestations, Clients, Context, GitObjects, Metadata, Pin, ResolvedSources};
use kiln_wire::pb;
use kiln_wire::proto::sourcepolicy::Policy;
use kiln_wire::status::{Detail, RichStatus};
use kiln_worker::{Requester, Worker};
use tonic::Code;

use crate::caches::BuildCaches;
use crate::error::{failed_status, op_status, solve_status};
use crate::frontend_registry::FrontendRegistry;
use crate::jobs::{BuildJob, BuildJobs};
use crate::leftovers::Leftovers;
use crate::producers::Known;
use crate::request_judge::RequestJudge;
use crate::trace::{Asked, Trace};
use crate::{BuildPolicies, Notice, Producers, constraints};

/// How deep frontends may call frontends.
const MAX_DEPTH: usize = 16;

/// What a build's bridge is made of.
pub struct BuildParts {
    /// The machine.
    pub worker: Worker,
    /// Where the build is solved.
    pub jobs: BuildJobs,
    /// What definitions are loaded for.
    pub load: LoadContext,
    /// Where frontends sit.
    pub frontends: Arc<FrontendRegistry>,
    /// Where progress goes.
    pub progress: Sender,
    /// What the frontend knows from the start.
    pub info: BuildInfo,
    /// Graphs the caller handed over.
    pub inputs: Inputs,
    /// The frontend that the client names.
    pub frontend: String,
    /// Which requests made graphs.
    pub producers: Producers,
    /// Which sources it may use.
    pub policies: BuildPolicies,
    /// The imported caches of all builds.
    pub imports: Imports,
}

/// A [`Bridge`] of one build; cheap to clone. Clones with other options share the refs.
#[derive(Clone)]
pub struct BuildBridge {
    shared: Handle<Shared>,
    info: BuildInfo,
    inputs: Inputs,
    pub(crate) policies: Arc<BuildPolicies>,
    pub(crate) trace: Arc<Trace>,
    depth: usize,
}

struct Shared {
    worker: Worker,
    jobs: BuildJobs,
    load: LoadContext,
    frontends: Arc<FrontendRegistry>,
    progress: Sender,
    refs: Mutex<BTreeMap<String, Lazy>>,
    leftovers: Mutex<Leftovers>,
    producers: Producers,
    /// Cache mounts that were made to begin empty.
    fresh_caches: tokio::sync::Mutex<BTreeSet<String>>,
    /// What the client has been shown, so that it is shown once.
    shown: Mutex<BTreeSet<Notice>>,
    next: AtomicU64,
    /// The caches that it imports.
    caches: BuildCaches,
    /// What the build's sources were resolved to stays the same while it runs.
    resolved: ResolvedSources,
    /// Who decides on requests of steps that have a proxy.
    _judge: Option<JudgeGuard>,
}

/// A [`BuildBridge`] that goes with its build.
pub(crate) struct WeakBridge {
    shared: WeakHandle<Shared>,
    info: BuildInfo,
    policies: Arc<BuildPolicies>,
}

impl WeakBridge {
    /// The bridge, for what is no part of the build's own work.
    pub(crate) fn upgrade(&self) -> Option<BuildBridge> {
        Some(BuildBridge {
            shared: self.shared.upgrade()?,
            info: self.info.clone(),
            inputs: Inputs::default(),
            policies: Arc::clone(&self.policies),
            trace: Arc::default(),
            depth: 0,
        })
    }
}

/// A result that runs when somebody looks inside.
#[derive(Clone)]
pub(crate) struct Lazy {
    pub(crate) graph: Arc<Graph>,
    pub(crate) edge: Edge,
    pub(crate) definition: Arc<pb::Definition>,
    /// Who defined it.
    pub(crate) trace: Arc<Trace>,
    /// What it used, once it has run.
    pub(crate) used: Arc<OnceLock<Used>>,
    /// That other builds know what made it.
    pub(crate) known: Arc<OnceLock<Option<Known>>>,
    /// Cache mounts that are to begin empty.
    fresh_caches: Arc<BTreeSet<String>>,
}

impl BuildBridge {
    /// The bridge of a build.
    pub fn new(parts: BuildParts) -> Self {
        let resolved = parts.worker.sources().begin_build(&parts.info.session_id);
        let mut load = parts.load;
        let judge = Arc::new(RequestJudge::default());
        let asked = load.proxy_network.as_mut().filter(|_| !parts.policies.is_empty());
        let guard = asked.map(|proxy| {
            let guard = parts.worker.containers().answer_for(Arc::clone(&judge) as Arc<dyn Judge>);
            guard.name().clone_into(&mut proxy.judge);
            guard
        });
        let shared = Shared {
            resolved,
            _judge: guard,
            worker: parts.worker,
            jobs: parts.jobs,
            load,
            frontends: parts.frontends,
            progress: parts.progress,
            refs: Mutex::default(),
            leftovers: Mutex::default(),
            producers: parts.producers,
            fresh_caches: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
            next: AtomicU64::new(1),
            caches: BuildCaches::new(parts.imports),
        };
        let (info, inputs, policies) = (parts.info, parts.inputs, Arc::new(parts.policies));
        let asked = Asked::new(&parts.frontend, options(&info), inputs.clone());
        let trace = Arc::new(Trace::of_build(asked));
        let bridge = Self { shared: Handle::new(shared), info, inputs, policies, trace, depth: 0 };
        judge.bridge.set(bridge.weak()).ok();
        bridge
    }

    /// Calls the frontend that the client names.
    ///
    /// # Errors
    ///
    /// The frontend's own, or that there is none.
    pub fn call<'a>(
        &'a self,
        frontend: &'a str,
    ) -> BoxFuture<'a, Result<BuildResult<Ref>, RichStatus>> {
        Box::pin(async move {
            let asked = Asked::new(frontend, options(&self.info), self.inputs.clone());
            let bridge = Self { trace: Arc::new(self.trace.call(asked)), ..self.clone() };
            let result = self.shared.frontends.call(frontend, &bridge).await?;
            self.trace.returned(bridge.trace);
            self.note_request(&result)?;
            Ok(result)
        })
    }

    fn weak(&self) -> WeakBridge {
        WeakBridge {
            shared: self.shared.downgrade(),
            info: self.info.clone(),
            policies: Arc::clone(&self.policies),
        }
    }

    /// Whether processes have a proxy, and which.
    pub(crate) fn proxy_network(&self) -> Option<ProxyNetwork> {
        self.shared.load.proxy_network.clone()
    }

    /// The same bridge for what is no part of the build's own work.
    pub(crate) fn apart(&self) -> Self {
        Self { trace: Arc::default(), ..self.clone() }
    }

    pub(crate) fn producers(&self) -> &Producers {
        &self.shared.producers
    }

    /// What definitions are loaded for.
    pub(crate) fn load_context(&self) -> &LoadContext {
        &self.shared.load
    }

    pub(crate) fn resolved(&self) -> &ResolvedSources {
        &self.shared.resolved
    }

    /// The jobs of the build, of which the last one solves.
    pub(crate) fn jobs(&self) -> &BuildJobs {
        &self.shared.jobs
    }

    /// The job that solves now: to be taken before a result is used, for [`BuildBridge::begins_again`].
    pub fn job(&self) -> BuildJob {
        self.shared.jobs.current()
    }

    /// Whether something that failed, with results of this job, is to be done anew: if results are lost that
    /// a cache named, and that did not happen too often. From now on they are made; the user is told why.
    pub fn begins_again(&self, job: &BuildJob, error: &RichStatus) -> bool {
        let tell = || self.shown_again(&error.message);
        error.code == Code::DataLoss && self.shared.jobs.begin_again(job, tell)
    }

    fn shown_again(&self, why: &str) {
        self.notify(Notice {
            step: "building again without results that could not be had".into(),
            short: why.to_owned(),
            detail: "what they were made by runs instead".into(),
        });
    }

    /// Whether a frontend asks, rather than the client.
    pub(crate) fn is_nested(&self) -> bool {
        self.depth > 0
    }

    pub(crate) fn caches(&self) -> &BuildCaches {
        &self.shared.caches
    }

    /// What the client asked the frontend for.
    pub(crate) fn asked_options(&self) -> BTreeMap<String, String> {
        options(&self.info)
    }

    pub(crate) fn session_id(&self) -> &str {
        &self.info.session_id
    }

    /// The machine.
    pub fn worker(&self) -> &Worker {
        &self.shared.worker
    }

    /// Runs what a ref stands for; `None` is the empty file system.
    ///
    /// # Errors
    ///
    /// If there is no such ref, or the operation that failed.
    pub fn result<'a>(
        &'a self,
        of: &'a Ref,
    ) -> BoxFuture<'a, Result<Option<kiln_worker::Ref>, RichStatus>> {
        Box::pin(async move {
            if let Some(left) = self.leftovers().get(&of.0) {
                return Ok(Some(left.clone()));
            }
            let lazy = self.lazy(of)?;
            self.forget_caches(&lazy.fresh_caches).await?;
            let solved = loop {
                let job = self.job();
                let error = match job.0.solve(Arc::clone(&lazy.graph), lazy.edge.clone()).await {
                    Ok(solved) => break solved,
                    Err(error) => error,
                };
                let why = || self.shown_again(&error.to_string());
                let is_lost = error.error.kind == ErrorKind::Lost;
                // Who else of this build began again has ended this job.
                let goes_on = if is_lost {
                    self.shared.jobs.begin_again(&job, why)
                } else {
                    !self.shared.jobs.is_current(&job)
                };
                if goes_on {
                    continue;
                }
                let status = solve_status(&error);
                return Err(match self.leftovers().add(&error) {
                    Some(solve) => status.with(Detail::Solve(Box::new(solve))),
                    None => status,
                });
            };
            self.used(&lazy).await;
            Ok(solved)
        })
    }

    fn leftovers(&self) -> MutexGuard<'_, Leftovers> {
        self.shared.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the cache mounts begin empty that processes have which are not to be taken from the
    /// cache: once in a build, because these processes share what they leave with each other.
    async fn forget_caches(&self, ids: &BTreeSet<String>) -> Result<(), RichStatus> {
        for id in ids {
            let mut fresh = self.shared.fresh_caches.lock().await;
            if fresh.contains(id) {
                continue;
            }
            let forgotten = self.shared.worker.containers().forget_cache(id).await;
            forgotten.map_err(|error| failed_status(&error))?;
            fresh.insert(id.clone());
        }
        Ok(())
    }

    pub(crate) fn lazy(&self, of: &Ref) -> Result<Lazy, RichStatus> {
        let refs = self.shared.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || RichStatus::new(Code::NotFound, format!("no such ref {}", of.0));
        refs.get(&of.0).cloned().ok_or_else(missing)
    }

    /// Runs several refs at the same time.
    async fn all(&self, names: &[Ref]) -> Result<Vec<Option<kiln_worker::Ref>>, RichStatus> {
        let mut running = Vec::with_capacity(names.len());
        for name in names {
            running.push(self.result(name));
        }
        futures::future::try_join_all(running).await
    }

    /// Runs all refs of a result.
    ///
    /// # Errors
    ///
    /// The first operation that failed.
    pub fn results<'a>(
        &'a self,
        result: BuildResult<Ref>,
    ) -> BoxFuture<'a, Result<BuildResult<kiln_worker::Ref>, RichStatus>> {
        Box::pin(async move {
            let names: Vec<Ref> = result.held().cloned().collect();
            let solved = self.all(&names).await?;
            let found: BTreeMap<Ref, Option<kiln_worker::Ref>> =
                names.into_iter().zip(solved).collect();
            result.try_filter_map(|name| Ok(found[&name].clone()))
        })
    }

    /// The same bridge for a frontend that is called with other options.
    fn nested(&self, frontend: &str, options: BTreeMap<String, String>, inputs: Inputs) -> Self {
        let mut info = self.info.clone();
        let asked = Asked::new(frontend, options.clone(), inputs.clone());
        info.options = options.into_iter().collect();
        let trace = Arc::new(self.trace.call(asked));
        Self { info, inputs, trace, depth: self.depth + 1, ..self.clone() }
    }

    fn define<'a>(
        &'a self,
        definition: &'a pb::Definition,
        policies: &'a [Policy],
    ) -> BoxFuture<'a, Result<Option<Ref>, RichStatus>> {
        Box::pin(async move {
            let definition = self.judged(definition, policies).await?;
            let graph = self.load(&definition).await?;
            let worker = self.shared.worker.info();
            constraints::check(&graph, &worker.id, &worker.labels)?;
            let Some(edge) = graph.root().cloned() else { return Ok(None) };
            let name = format!("ref-{}", self.shared.next.fetch_add(1, Ordering::Relaxed));
            let definition = Arc::new(with_metadata(definition.into_owned()));
            let fresh_caches = Arc::new(fresh_caches(&graph));
            let lazy = Lazy {
                graph: Arc::new(graph),
                edge,
                definition,
                trace: Arc::clone(&self.trace),
                used: Arc::default(),
                known: Arc::default(),
                fresh_caches,
            };
            self.trace.defined(Ref(name.clone()));
            self.shared
                .refs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.clone(), lazy);
            Ok(Some(Ref(name)))
        })
    }

    /// Shows the client what its build goes on without, once in a build.
    pub fn notify(&self, notice: Notice) {
        let mut shown = self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.contains(&notice) {
            notice.show(&self.shared.progress);
            shown.insert(notice);
        }
    }

    /// Shows a step that took no time.
    pub(crate) fn show(&self, name: &str) {
        let now = Some(SystemTime::now());
        let vertex = Vertex::new(Digest::sha256(name), name);
        self.shared.progress.vertex(Vertex { started: now, completed: now, ..vertex });
    }

    /// Asks a source what it is, and shows that under a name if there is one.
    async fn pin(
        &self,
        identifier: &Identifier,
        platform: &Platform,
        shown: &str,
    ) -> Result<Pin, RichStatus> {
        let vertex = Digest::sha256(format!("resolve {shown}"));
        let progress =
            if shown.is_empty() { Sender::default() } else { self.shared.progress.clone() };
        let started = Some(SystemTime::now());
        progress.vertex(Vertex { started, ..Vertex::new(vertex.clone(), shown) });
        let context = self.context(progress.clone(), vertex.clone());
        let pinned = self.shared.worker.sources().pin(identifier, platform, &context).await;
        let pinned = pinned.map_err(|error| failed_status(&error));
        let error = pinned.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let completed = Some(SystemTime::now());
        progress.vertex(Vertex { started, completed, error, ..Vertex::new(vertex, shown) });
        pinned
    }

    /// What is known of a source that policies allow.
    pub(crate) fn resolve_allowed<'a>(
        &'a self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> BoxFuture<'a, Result<SourceMeta, RichStatus>> {
        Box::pin(async move {
            let mut attrs = source.attrs.clone();
            if !request.resolve_mode.is_empty() && source.identifier.starts_with("docker-image://")
            {
                attrs.insert("image.resolvemode".to_owned(), request.resolve_mode);
            }
            let identifier = Identifier::parse(&source.identifier, &attrs)
                .map_err(|error| RichStatus::new(Code::InvalidArgument, error.to_string()))?;
            let platform = request.platform.unwrap_or_else(|| self.info.default_platform());
            let pin = self.pin(&identifier, &platform, &request.log_name).await?;
            let is_attested = request.attestation_chain || !request.attestations.is_empty();
            let attestations = match is_attested {
                true => self.attestations(&pin, &request.attestations).await?,
                false => None,
            };
            let mut meta = SourceMeta::default().with_source(source);
            let objects = match (&pin.metadata, request.git_object) {
                (Metadata::Git { .. }, true) => Some(self.git_objects(&identifier, &pin).await?),
                _ => None,
            };
            let summed = match request.checksum {
                Some(asked) => Some(self.summed(&identifier, &pin, asked).await?),
                None => None,
            };
            match pin.metadata {
                Metadata::Image { reference, manifest, config } => {
                    let digest = reference.digest().unwrap_or(&manifest).clone();
                    let config = if request.no_config { Bytes::new() } else { config };
                    let attestations = attestations.map(chain);
                    meta.image = Some(
                        ImageFacts::default()
                            .with_digest(digest)
                            .with_config(config)
                            .with_attestations(attestations),
                    );
                }
                Metadata::Http { digest, filename, last_modified } => {
                    let last_modified = last_modified.map(timestamp);
                    meta.http = Some(
                        HttpFacts::default()
                            .with_checksum(digest)
                            .with_filename(filename)
                            .with_last_modified(last_modified)
                            .with_summed(summed),
                    );
                }
                Metadata::Git { reference, checksum, commit_checksum } => {
                    let objects = objects.unwrap_or_default();
                    // A commit that was asked for by its id may turn out to be a tag.
                    let commit_checksum = commit_checksum.or(objects.commit_checksum);
                    meta.git = Some(
                        GitFacts::default()
                            .with_checksum(checksum)
                            .with_reference(reference)
                            .with_commit_checksum(commit_checksum.unwrap_or_default())
                            .with_commit_object(objects.commit)
                            .with_tag_object(objects.tag.unwrap_or_default()),
                    );
                }
                Metadata::Local | Metadata::Blob { .. } => {}
            }
            Ok(meta)
        })
    }

    /// What this build may do beyond the ordinary.
    pub(crate) fn entitlements(&self) -> Entitlements {
        self.shared.load.entitlements.clone()
    }

    /// Where progress goes.
    pub(crate) fn progress(&self) -> &Sender {
        &self.shared.progress
    }

    /// What sources may use on behalf of this build.
    pub(crate) fn context(&self, progress: Sender, vertex: Digest) -> Context {
        let session = Clients::new(self.shared.worker.sessions(), [self.info.session_id.clone()]);
        // Nothing is checked out for who only asks.
        Context { session: Arc::new(session), progress, vertex, compatibility: Some(0) }
    }

    /// What is claimed about an image, with statements of these predicate types.
    async fn attestations(
        &self,
        pin: &Pin,
        kinds: &[String],
    ) -> Result<Option<Attestations>, RichStatus> {
        let context = self.context(Sender::default(), Digest::sha256("attestations"));
        let found = self.shared.worker.sources().attestations(pin, kinds, &context).await;
        found.map_err(|error| failed_status(&error))
    }

    /// The sum of a file by URL and of the bytes that are asked about with it.
    async fn summed(
        &self,
        of: &Identifier,
        pin: &Pin,
        asked: ChecksumQuestion,
    ) -> Result<ChecksumAnswer, RichStatus> {
        let algorithm = match asked.algorithm {
            ChecksumAlgorithm::Sha256 => "sha256",
            ChecksumAlgorithm::Sha384 => "sha384",
            ChecksumAlgorithm::Sha512 => "sha512",
        };
        let context = self.context(Sender::default(), Digest::sha256("checksum"));
        let sources = self.shared.worker.sources();
        let found = sources.file_sum(of, pin, algorithm, &asked.suffix, &context).await;
        let found = found.map_err(|error| failed_status(&error))?;
        let Some(digest) = found else {
            let message = format!("{}: only a file by URL has a checksum", of.canonical());
            return Err(RichStatus::new(Code::InvalidArgument, message));
        };
        Ok(ChecksumAnswer::new(digest).with_suffix(asked.suffix))
    }

    /// The objects of a git source, as git stores them.
    async fn git_objects(&self, of: &Identifier, pin: &Pin) -> Result<GitObjects, RichStatus> {
        let vertex = Digest::sha256("git objects");
        let context = self.context(Sender::default(), vertex);
        let objects = self.shared.worker.sources().git_objects(of, pin, &context).await;
        let objects = objects.map_err(|error| failed_status(&error))?;
        Ok(objects.unwrap_or_default())
    }

    /// The files of a ref. An image without layers is an empty directory.
    fn looked_into<'a>(
        &'a self,
        of: &'a Ref,
    ) -> BoxFuture<'a, Result<kiln_worker::Files, RichStatus>> {
        Box::pin(async move {
            let requester = self.requester(of);
            loop {
                let job = self.job();
                let result = match self.result(of).await? {
                    Some(result) => result,
                    None => {
                        let empty = self.shared.worker.store().merge(&[], &requester).await;
                        empty.map_err(|error| failed_status(&error))?
                    }
                };
                let files = result.files(&requester).await.map_err(|error| failed_status(&error));
                match files {
                    Err(error) if self.begins_again(&job, &error) => {}
                    files => return files,
                }
            }
        })
    }

    /// For whom a process runs that is no step of the build: its frontend's, or one in a container. It is
    /// shown as `vertex`.
    pub(crate) fn process_context(&self, vertex: Digest) -> JobContext {
        JobContext {
            vertex,
            progress: self.shared.progress.clone(),
            sessions: Sessions::of(&self.info.session_id),
            compatibility: Some(0),
        }
    }

    /// For whom the files of a ref are fetched, and where that is shown.
    pub(crate) fn requester(&self, of: &Ref) -> Requester {
        let vertex = self.shown_as(of);
        Requester::of(vec![self.info.session_id.clone()], &vertex, &self.shared.progress)
    }

    /// The vertex that a ref is shown as.
    pub(crate) fn shown_as(&self, of: &Ref) -> Digest {
        let lazy = self.lazy(of).ok();
        let vertex = lazy.as_ref().and_then(|lazy| lazy.graph.vertex(&lazy.edge.vertex));
        vertex.map_or_else(|| Digest::sha256(&of.0), |vertex| vertex.digest.clone())
    }
}

#[async_trait]
impl Bridge for BuildBridge {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        let Solve {
            definition,
            frontend,
            options,
            inputs,
            evaluate,
            cache_imports,
            source_policies,
            ..
        } = request;
        let source_policies = policies(source_policies);
        self.import_caches(&cache_imports)?;
        let result = match (definition, frontend.as_str()) {
            (Some(definition), "") => {
                BuildResult::single(self.define(&definition.into(), &source_policies).await?)
            }
            (Some(definition), _) if !definition.def.is_empty() => {
                let message = "a request has either a definition or a frontend, not both";
                return Err(FrontendError::new(kiln_frontend::Code::InvalidArgument, message));
            }
            (None, "") => BuildResult::single(None),
            _ if self.depth >= MAX_DEPTH => {
                let message = format!("frontends call each other more than {MAX_DEPTH} deep");
                return Err(FrontendError::new(kiln_frontend::Code::ResourceExhausted, message));
            }
            (_, frontend) => {
                let bridge = self.nested(frontend, options, inputs);
                let bridge = bridge.with_policies(&source_policies)?;
                // A frontend may call a frontend, so the future has to be boxed.
                let result = Box::pin(self.shared.frontends.call(frontend, &bridge)).await?;
                self.trace.returned(bridge.trace);
                result
            }
        };
        if evaluate {
            let names: Vec<Ref> = result.held().cloned().collect();
            self.all(&names).await?;
        }
        self.note_request(&result)?;
        Ok(result)
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let source = match request.layout {
            Some(LayoutStore { session_id, store_id, .. }) => {
                SourceIdentifier::new(format!("oci-layout://{reference}"))
                    .attr("oci.session", session_id)
                    .attr("oci.store", store_id)
            }
            None => SourceIdentifier::new(format!("docker-image://{reference}")),
        };
        let asked = SourceRequest::default()
            .with_platform(request.platform)
            .with_resolve_mode(request.resolve_mode)
            .with_log_name(request.log_name)
            .with_source_policies(request.source_policies);
        let meta = self.resolve_source(source, asked).await?;
        let Some(ImageFacts { digest, config, .. }) = meta.image else {
            let non_image = Some(meta.source.identifier);
            return Ok(ResolvedImage::default().with_non_image(non_image));
        };
        let identifier = meta.source.identifier;
        let (_, reference) = identifier.split_once("://").unwrap_or(("", &identifier));
        Ok(ResolvedImage::default()
            .with_reference(reference.to_owned())
            .with_digest(digest)
            .with_config(config))
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        let asked = request.platform.clone();
        let platform = asked.clone().map(platform_to_wire);
        let own = policies(request.source_policies.clone());
        let source = self.judged_source(source_to_wire(source), platform, &own).await?;
        let source = source_from_wire(source);
        let meta = self.resolve_allowed(source, request).await?;
        if let Some(digest) = meta.image.as_ref().and_then(|image| image.digest.clone()) {
            self.note_image(&meta.source.identifier, asked.as_ref(), digest);
        }
        Ok(meta)
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let lazy = self.lazy(of)?;
        Ok(Some((*lazy.definition).clone().into()))
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let found = self.looked_into(of).await?;
        let range = range.map(|range| (range.offset, range.length));
        read::read_file(&found, path, range)
            .await
            .map(Bytes::from)
            .map_err(|error| op_status(&error).into())
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let found = self.looked_into(of).await?;
        let list = read::read_dir(&found, path, include_pattern)
            .await
            .map_err(|error| op_status(&error))?;
        Ok(list.into_iter().map(stat).collect())
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        let found = self.looked_into(of).await?;
        read::stat_file(&found, path).await.map(stat).map_err(|error| op_status(&error).into())
    }

    fn containers(&self) -> Option<&dyn Containers> {
        Some(self)
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        Ok(self.result(of).await.map(drop)?)
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        let complete = |(name, graph): (&String, &Definition)| {
            (name.clone(), with_metadata(graph.clone().into()).into())
        };
        Ok(self.inputs.iter().map(complete).collect())
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        let vertex = warning.vertex.parse();
        let vertex = vertex.map_err(|error| {
            FrontendError::new(kiln_frontend::Code::InvalidArgument, format!("{error}"))
        })?;
        self.shared.progress.send(Progress::Warning(kiln_progress::Warning {
            vertex,
            level: warning.level,
            short: warning.short,
            detail: warning.detail,
            url: warning.url,
            info: warning.info.map(Into::into),
            ranges: warning.ranges.into_iter().map(Into::into).collect(),
        }));
        Ok(())
    }
}

fn chain(found: Attestations) -> AttestationChain {
    AttestationChain::new(found.root, found.image)
        .with_attestation_manifest(found.manifest)
        .with_signature_manifests(found.signatures)
        .with_blobs(found.blobs)
}

fn options(info: &BuildInfo) -> BTreeMap<String, String> {
    info.options.0.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The definition with metadata for every op: clients take the lack of it for a broken definition.
fn with_metadata(mut definition: pb::Definition) -> pb::Definition {
    for bytes in &definition.def {
        definition.metadata.entry(Digest::sha256(bytes).to_string()).or_default();
    }
    definition
}

/// A moment as the protocol has it.
fn timestamp(time: SystemTime) -> Timestamp {
    let nanos = |n: u32| i32::try_from(n).unwrap_or_default();
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: nanos(since.subsec_nanos()),
        },
        // Whole seconds are all that HTTP tells.
        Err(error) => Timestamp {
            seconds: i64::try_from(error.duration().as_secs()).map_or(i64::MIN, |s| -s),
            nanos: 0,
        },
    }
}

/// Policies for who judges.
fn policies(own: Vec<SourcePolicy>) -> Vec<Policy> {
    own.into_iter().map(Policy::from).collect()
}

pub(crate) fn stat(stat: read::FileStat) -> FileStat {
    FileStat::new(stat.path, stat.mode)
        .owner(stat.uid, stat.gid)
        .size(stat.size)
        .modified_nanos(stat.modified)
        .link(stat.target)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_handed_back_has_metadata_for_every_op_and_values_for_every_entry() {
        let bytes: Bytes = pb::Op::default().encode_to_vec().into();
        let digest = Digest::sha256(&bytes).to_string();
        let definition = pb::Definition { def: vec![bytes], ..Default::default() };
        let metadata = with_metadata(definition).metadata;
        assert_eq!(metadata, [(digest.clone(), pb::OpMetadata::default())].into());
        // A reader that knows no defaults finds the value: field 2, of length 0.
        let message = pb::Definition { metadata, ..Default::default() }.encode_to_vec();
        assert!(message.ends_with(&[digest.as_bytes(), b"\x12\x00"].concat()));
    }

    #[test]
    fn metadata_that_came_along_stays() {
        let bytes: Bytes = pb::Op::default().encode_to_vec().into();
        let digest = Digest::sha256(&bytes).to_string();
        let own = pb::OpMetadata { ignore_cache: true, ..Default::default() };
        let metadata = [(digest, own)].into();
        let definition = pb::Definition { def: vec![bytes], metadata, source: None };
        assert_eq!(with_metadata(definition.clone()), definition);
    }
}
