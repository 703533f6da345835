//! The bridge of one build, inside the daemon.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_engine::Job;
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, GitFacts, HttpFacts, ImageConfigRequest, ImageFacts,
    Inputs, Ref, ResolvedImage, Solve, SourceMeta, SourceRequest, Timestamp, Warning,
};
use kiln_graph::{Edge, Graph, Identifier, ImageSource, LoadContext, ResolveMode};
use kiln_oci::{Digest, Platform};
use kiln_progress::{Progress, Sender, Vertex};
use kiln_sources::{Clients, Context, Metadata, Pin};
use kiln_wire::pb;
use kiln_wire::proto::filetree::Stat;
use kiln_wire::status::RichStatus;
use kiln_worker::Worker;
use kiln_worker::read::{self, FileStat};
use tonic::Code;

use crate::error::{op_status, solve_status};
use crate::seats::Seats;

/// How deep frontends may call frontends.
const MAX_DEPTH: usize = 16;

/// What a build's bridge is made of.
pub struct BuildParts {
    /// The machine.
    pub worker: Worker,
    /// The build's job.
    pub job: Job<kiln_worker::Ref>,
    /// What definitions are loaded for.
    pub load: LoadContext,
    /// Where frontends sit.
    pub seats: Arc<Seats>,
    /// Where progress goes.
    pub progress: Sender,
    /// What the frontend knows from the start.
    pub info: BuildInfo,
    /// Graphs the caller handed over.
    pub inputs: Inputs,
}

/// A [`Bridge`] of one build; cheap to clone. Clones with other options share the refs.
#[derive(Clone)]
pub struct BuildBridge {
    shared: Arc<Shared>,
    info: BuildInfo,
    inputs: Inputs,
    depth: usize,
}

struct Shared {
    worker: Worker,
    job: Job<kiln_worker::Ref>,
    load: LoadContext,
    seats: Arc<Seats>,
    progress: Sender,
    refs: Mutex<BTreeMap<String, Lazy>>,
    next: AtomicU64,
}

/// A result that runs when somebody looks inside.
#[derive(Clone)]
struct Lazy {
    graph: Arc<Graph>,
    edge: Edge,
    definition: Arc<pb::Definition>,
}

impl BuildBridge {
    /// The bridge of a build.
    pub fn new(parts: BuildParts) -> Self {
        let shared = Shared {
            worker: parts.worker,
            job: parts.job,
            load: parts.load,
            seats: parts.seats,
            progress: parts.progress,
            refs: Mutex::default(),
            next: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared), info: parts.info, inputs: parts.inputs, depth: 0 }
    }

    /// Whether a frontend asks, rather than the client.
    pub(crate) fn is_nested(&self) -> bool {
        self.depth > 0
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
    pub async fn result(&self, of: &Ref) -> Result<Option<kiln_worker::Ref>, RichStatus> {
        let lazy = self.lazy(of)?;
        self.shared.job.solve(lazy.graph, lazy.edge).await.map_err(|error| solve_status(&error))
    }

    fn lazy(&self, of: &Ref) -> Result<Lazy, RichStatus> {
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
    pub async fn results(
        &self,
        result: BuildResult<Ref>,
    ) -> Result<BuildResult<kiln_worker::Ref>, RichStatus> {
        let names: Vec<Ref> = result.held().cloned().collect();
        let solved = self.all(&names).await?;
        let found: BTreeMap<Ref, Option<kiln_worker::Ref>> =
            names.into_iter().zip(solved).collect();
        result.try_filter_map(|name| Ok(found[&name].clone()))
    }

    /// The same bridge for a frontend that is called with other options.
    fn nested(&self, options: BTreeMap<String, String>, inputs: Inputs) -> Self {
        let mut info = self.info.clone();
        info.options = options.into_iter().collect();
        Self { shared: Arc::clone(&self.shared), info, inputs, depth: self.depth + 1 }
    }

    fn define(&self, definition: &pb::Definition) -> Result<Option<Ref>, RichStatus> {
        // A definition without operations is the empty file system.
        if definition.def.is_empty() {
            return Ok(None);
        }
        let graph =
            Graph::load(definition, &self.shared.load).map_err(|error| load_status(&error))?;
        let Some(edge) = graph.root().cloned() else { return Ok(None) };
        let name = format!("ref-{}", self.shared.next.fetch_add(1, Ordering::Relaxed));
        let definition = Arc::new(definition.clone());
        let lazy = Lazy { graph: Arc::new(graph), edge, definition };
        self.shared.refs.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), lazy);
        Ok(Some(Ref(name)))
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
        let session = Clients::new(self.shared.worker.sessions(), [self.info.session_id.clone()]);
        let context = Context {
            session: Arc::new(session),
            progress: progress.clone(),
            vertex: vertex.clone(),
        };
        let pinned = self.shared.worker.sources().pin(identifier, platform, &context).await;
        let pinned = pinned.map_err(|error| {
            op_status(&kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, &error))
        });
        let error = pinned.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let completed = Some(SystemTime::now());
        progress.vertex(Vertex { started, completed, error, ..Vertex::new(vertex, shown) });
        pinned
    }

    async fn looked_into(&self, of: &Ref, path: &str) -> Result<kiln_worker::Ref, RichStatus> {
        let missing =
            || RichStatus::new(Code::NotFound, format!("{path}: no such file or directory"));
        self.result(of).await?.ok_or_else(missing)
    }
}

#[async_trait]
impl Bridge for BuildBridge {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, RichStatus> {
        let result = match (&request.definition, request.frontend.as_str()) {
            (Some(_), frontend) if !frontend.is_empty() => {
                let message = "a request has either a definition or a frontend, not both";
                return Err(RichStatus::new(Code::InvalidArgument, message));
            }
            (None, "") => BuildResult::single(None),
            (None, _) if self.depth >= MAX_DEPTH => {
                let message = format!("frontends call each other more than {MAX_DEPTH} deep");
                return Err(RichStatus::new(Code::ResourceExhausted, message));
            }
            (None, frontend) => {
                let bridge = self.nested(request.options, request.inputs);
                // A frontend may call a frontend, so the future has to be boxed.
                Box::pin(self.shared.seats.call(frontend, &bridge)).await?
            }
            (Some(definition), _) => BuildResult::single(self.define(definition)?),
        };
        if request.evaluate {
            let names: Vec<Ref> = result.held().cloned().collect();
            self.all(&names).await?;
        }
        Ok(result)
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, RichStatus> {
        let invalid = |error: &dyn std::fmt::Display| {
            RichStatus::new(Code::InvalidArgument, error.to_string())
        };
        let identifier = match &request.layout {
            Some(layout) => {
                let attrs = [("oci.session", &layout.session_id), ("oci.store", &layout.store_id)];
                let attrs = attrs.map(|(name, value)| (name.to_owned(), value.clone())).into();
                Identifier::parse(&format!("oci-layout://{reference}"), &attrs)
                    .map_err(|error| invalid(&error))?
            }
            None => Identifier::Image(ImageSource {
                reference: reference.parse().map_err(|error| invalid(&error))?,
                resolve_mode: match request.resolve_mode.as_str() {
                    "pull" => ResolveMode::Pull,
                    "local" => ResolveMode::Local,
                    _ => ResolveMode::Default,
                },
                checksum: None,
                layer_limit: None,
                frontend: false,
            }),
        };
        let platform = request.platform.unwrap_or_else(|| self.info.default_platform());
        let pin = self.pin(&identifier, &platform, &request.log_name).await?;
        match pin.metadata {
            Metadata::Image { reference: found, manifest, config } => Ok(ResolvedImage {
                digest: found.digest().unwrap_or(&manifest).to_string(),
                reference: reference.to_owned(),
                config,
                non_image: None,
            }),
            _ => Err(RichStatus::new(Code::Internal, "the image was resolved to something else")),
        }
    }

    async fn resolve_source(
        &self,
        source: pb::SourceOp,
        request: SourceRequest,
    ) -> Result<SourceMeta, RichStatus> {
        let identifier = Identifier::parse(&source.identifier, &source.attrs)
            .map_err(|error| RichStatus::new(Code::InvalidArgument, error.to_string()))?;
        let platform = request.platform.unwrap_or_else(|| self.info.default_platform());
        let pin = self.pin(&identifier, &platform, &request.log_name).await?;
        let mut meta = SourceMeta { source, ..SourceMeta::default() };
        match pin.metadata {
            Metadata::Image { reference, manifest, config } => {
                let digest = reference.digest().unwrap_or(&manifest).to_string();
                meta.image = Some(ImageFacts { digest, config });
            }
            Metadata::Http { digest, filename, last_modified } => {
                let (checksum, last_modified) = (digest.to_string(), last_modified.map(timestamp));
                meta.http = Some(HttpFacts { checksum, filename, last_modified });
            }
            Metadata::Git { reference, checksum, commit_checksum } => {
                let commit_checksum = commit_checksum.unwrap_or_default();
                let facts = GitFacts { checksum, reference, commit_checksum, ..Default::default() };
                meta.git = Some(facts);
            }
            Metadata::Local => {}
        }
        Ok(meta)
    }

    async fn definition(&self, of: &Ref) -> Result<Option<pb::Definition>, RichStatus> {
        let lazy = self.lazy(of)?;
        Ok(Some((*lazy.definition).clone()))
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, RichStatus> {
        let found = self.looked_into(of, path).await?;
        let range = range.map(|range| (range.offset, range.length));
        read::read_file(&found, path, range)
            .await
            .map(Bytes::from)
            .map_err(|error| op_status(&error))
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<Stat>, RichStatus> {
        let found = self.looked_into(of, path).await?;
        let list = read::read_dir(&found, path, include_pattern)
            .await
            .map_err(|error| op_status(&error))?;
        Ok(list.into_iter().map(stat).collect())
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<Stat, RichStatus> {
        let found = self.looked_into(of, path).await?;
        read::stat_file(&found, path).await.map(stat).map_err(|error| op_status(&error))
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), RichStatus> {
        self.result(of).await.map(drop)
    }

    async fn inputs(&self) -> Result<Inputs, RichStatus> {
        Ok(self.inputs.clone())
    }

    async fn warn(&self, warning: Warning) -> Result<(), RichStatus> {
        let vertex = warning.vertex.parse();
        let vertex =
            vertex.map_err(|error| RichStatus::new(Code::InvalidArgument, format!("{error}")))?;
        self.shared.progress.send(Progress::Warning(kiln_progress::Warning {
            vertex,
            level: warning.level,
            short: warning.short,
            detail: warning.detail,
            url: warning.url,
            info: warning.info,
            ranges: warning.ranges,
        }));
        Ok(())
    }
}

/// Why a definition is none, as a status.
fn load_status(error: &kiln_graph::LoadError) -> RichStatus {
    let code = match error {
        kiln_graph::LoadError::Entitlement(_) => Code::PermissionDenied,
        _ => Code::InvalidArgument,
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error)
        && !message.contains(&source.to_string())
    {
        message = format!("{message}: {source}");
    }
    RichStatus::new(code, message)
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

fn stat(stat: FileStat) -> Stat {
    Stat {
        path: stat.path,
        mode: kiln_filesync::mode::from_posix(stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        size: i64::try_from(stat.size).unwrap_or(i64::MAX),
        mod_time: stat.modified,
        linkname: stat.target,
        ..Stat::default()
    }
}
