//! A daemon that builds nothing and remembers everything.
//!
//! Every image exists and has a telling config; local directories are those of a sample, and only
//! what a local source declares can be read. Each thing a real daemon would refuse is refused here
//! as well, and kept as a complaint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_filesync::Patterns;
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, GitFacts, HttpFacts, ImageConfigRequest, ImageFacts,
    Inputs, Ref, ResolvedImage, Solve, SourceMeta, SourceRequest, Warning, Worker,
};
use kiln_frontend::{Code, FileMode, FileStat, FrontendError, SourceIdentifier};
use kiln_llb::Definition;
use kiln_oci::{Digest, Platform, Reference};
use kiln_wire::pb;
use serde_json::{Value, json};

use super::graph::Graph;
use super::samples::{Files, Sample};

/// The client's session. Long enough that it is nowhere by accident.
pub(crate) const SESSION: &str = "kilnconformsession0a1b2c3d4e5f";
/// The platform of builds that say nothing else.
pub(crate) const DEFAULT_PLATFORM: &str = "linux/amd64";
/// Ignore files that a frontend may look for beside the file to build.
const IGNORE_FILE: &str = ".dockerignore";

/// What the daemon of a build can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// All that Kiln's does, but for its own additions.
    Current,
    /// What every daemon that speaks the protocol has done from the start.
    Old,
}

/// LLB features of an old daemon.
pub(crate) const OLD_LLB: &[&str] = &[
    "source.image",
    "source.local",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.git",
    "source.http",
    "source.http.checksum",
    "source.http.perm",
    "source.image.resolvemode",
    "exec.meta.base",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.secret",
    "exec.mount.ssh",
    "file.base",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
];

/// Gateway features of an old daemon.
const OLD_GATEWAY: &[&str] = &[
    "solve.base",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "proto.refarray",
    "frontend.inputs",
    "frontend.caps",
];

/// Everything a frontend did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What it solved, in order.
    pub(crate) solved: Vec<Definition>,
    /// The images it asked for.
    pub(crate) images: Vec<AskedImage>,
    /// What a daemon would not have put up with: the call, and what is wrong.
    pub(crate) complaints: Vec<String>,
    /// Files it wanted although its local source does not declare them.
    pub(crate) undeclared: Vec<String>,
    /// Warnings it showed.
    pub(crate) warnings: Vec<Warning>,
}

/// One question for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedImage {
    pub(crate) reference: String,
    pub(crate) platform: Option<Platform>,
    pub(crate) mode: String,
}

/// The daemon.
pub(crate) struct FakeDaemon {
    info: BuildInfo,
    locals: BTreeMap<String, Files>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    refs: BTreeMap<Ref, Definition>,
    seen: Seen,
}

impl FakeDaemon {
    /// A daemon for one build of a sample with these options.
    pub(crate) fn new(sample: &Sample, options: BTreeMap<String, String>, age: Age) -> Self {
        let owned = |caps: &[&str]| -> BTreeSet<String> {
            caps.iter().map(|cap| (*cap).to_owned()).collect()
        };
        let (llb, gateway) = match age {
            Age::Current => (owned(kiln_wire::caps::LLB), owned(kiln_wire::caps::GATEWAY)),
            Age::Old => (owned(OLD_LLB), owned(OLD_GATEWAY)),
        };
        let platforms = ["linux/amd64", "linux/arm64"];
        let worker = Worker::default()
            .with_id("conform".to_owned())
            .with_labels(BTreeMap::new())
            .with_platforms(
                platforms.iter().filter_map(|platform| platform.parse().ok()).collect(),
            );
        // A daemon of somebody else: sessions have to be named.
        let theirs = |cap: &String| cap != kiln_wire::caps::SESSIONS_APART;
        let info = BuildInfo::default()
            .with_options(options.into_iter().collect())
            .with_workers(vec![worker])
            .with_session_id(SESSION.to_owned())
            .with_llb_caps(llb)
            .with_gateway_caps(gateway.into_iter().filter(theirs).collect());
        Self { info, locals: sample.locals.clone(), state: Mutex::default() }
    }

    /// What the frontend has done.
    pub(crate) fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    /// The graph of a result; nothing for the empty file system.
    pub(crate) fn graph(&self, of: Option<&Ref>) -> Option<Definition> {
        match of {
            None => Some(Definition::default()),
            Some(of) => self.state().refs.get(of).cloned(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, complaint: impl Into<String>) {
        self.state().seen.complaints.push(complaint.into());
    }

    /// Refuses a call that this daemon does not have.
    fn need(&self, call: &str, cap: &str) -> Result<(), FrontendError> {
        if self.info.gateway_caps.contains(cap) {
            return Ok(());
        }
        self.complain(format!("it calls {call}, which the daemon does not offer (`{cap}`)"));
        Err(FrontendError::new(Code::Unimplemented, format!("unknown method {call}")))
    }

    fn define(&self, definition: Definition) -> Result<Option<Ref>, FrontendError> {
        self.state().seen.solved.push(definition.clone());
        if definition.is_empty() {
            return Ok(None);
        }
        if let Err(error) = Graph::of(&definition) {
            self.complain(format!("it solves what is no graph: {error}"));
            return Err(FrontendError::new(Code::InvalidArgument, error));
        }
        let mut state = self.state();
        let name = Ref(format!("ref-{}", state.refs.len() + 1));
        state.refs.insert(name.clone(), definition);
        Ok(Some(name))
    }

    /// The files of a result that can be read, by path.
    fn files(&self, of: &Ref) -> Result<Readable<'_>, FrontendError> {
        let definition = self.state().refs.get(of).cloned().ok_or_else(|| {
            self.complain(format!("it reads from the result {:?}, which it was never given", of.0));
            FrontendError::new(Code::NotFound, format!("no such ref {}", of.0))
        })?;
        let graph = Graph::of(&definition)
            .map_err(|error| FrontendError::new(Code::InvalidArgument, error))?;
        let head = graph.head().and_then(|head| head.op.op.as_ref());
        let Some(pb::op::Op::Source(source)) = head else { return Ok(Readable::default()) };
        let Some(name) = source.identifier.strip_prefix("local://") else {
            return Ok(Readable::default());
        };
        Ok(Readable {
            local: name.to_owned(),
            files: self.locals.get(name),
            declared: Declared::of(source),
        })
    }

    fn undeclared(&self, readable: &Readable<'_>, path: &str) {
        let wanted = format!(
            "{path} of the local directory `{}`, {}",
            readable.local,
            readable.declared.words()
        );
        self.state().seen.undeclared.push(wanted);
    }
}

/// What can be read of a result.
#[derive(Default)]
struct Readable<'a> {
    local: String,
    files: Option<&'a Files>,
    declared: Declared,
}

/// What a local source says it is going to read.
#[derive(Default)]
struct Declared {
    follow: Vec<String>,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Declared {
    fn of(source: &pb::SourceOp) -> Self {
        let list = |name: &str| -> Vec<String> {
            let text = source.attrs.get(name).map(String::as_str).unwrap_or_default();
            serde_json::from_str(text).unwrap_or_default()
        };
        Self {
            follow: list("local.followpaths"),
            include: list("local.includepattern"),
            exclude: list("local.excludepatterns"),
        }
    }

    fn words(&self) -> String {
        match (self.follow.is_empty(), self.include.is_empty()) {
            (true, true) => format!("of which it excludes {:?}", self.exclude),
            (false, _) => format!("of which it declares {:?} (followpaths)", self.follow),
            (true, false) => format!("of which it declares {:?} (include patterns)", self.include),
        }
    }

    fn covers(&self, path: &str) -> bool {
        let wanted: Vec<&String> = self.follow.iter().chain(&self.include).collect();
        (wanted.is_empty() || matches(&wanted, path))
            && !matches(&self.exclude.iter().collect::<Vec<_>>(), path)
    }
}

fn matches(patterns: &[&String], path: &str) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let patterns: Vec<String> =
        patterns.iter().map(|p| p.trim_start_matches('/').to_owned()).collect();
    Patterns::parse(&patterns).is_ok_and(|patterns| {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above.chain([path]).any(|path| patterns.matches(path))
    })
}

/// A path as the files of a sample have it.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn missing(path: &str) -> FrontendError {
    FrontendError::new(Code::NotFound, format!("open {path}: no such file or directory"))
}

fn file_stat(path: &str, content: &Bytes) -> FileStat {
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    FileStat::new(path, FileMode::file(0o644)).size(size)
}

fn directory_stat(path: &str) -> FileStat {
    FileStat::new(path, FileMode::directory(0o755))
}

/// What every image says about itself: something telling in every field.
pub(crate) fn base_config(platform: &Platform) -> Value {
    json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "variant": platform.variant,
        "author": "The maintainers of the base",
        "created": "2001-02-03T04:05:06Z",
        "kiln.conform.unknown": { "kept": true },
        "config": {
            "User": "4711:4712",
            "ExposedPorts": { "4713/tcp": {} },
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "KILN_CONFORM_BASE=from the base",
            ],
            "Entrypoint": ["/kiln-conform-entrypoint"],
            "Cmd": ["kiln-conform-argument"],
            "Volumes": { "/kiln-conform-volume": {} },
            "WorkingDir": "/kiln-conform-workdir",
            "Labels": { "kiln.conform.base": "from the base" },
            "StopSignal": "SIGUSR1",
            "Shell": ["/kiln-conform-shell", "-c"],
            "Healthcheck": { "Test": ["CMD", "/kiln-conform-health"] },
            "KilnConformUnknown": "kept",
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::sha256("layer").to_string()] },
        "history": [{ "created": "2001-02-03T04:05:06Z", "created_by": "the base" }],
    })
}

#[async_trait]
impl Bridge for FakeDaemon {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        if !request.frontend.is_empty() {
            let message = format!("this daemon has no frontend `{}`", request.frontend);
            return Err(FrontendError::new(Code::Unimplemented, message));
        }
        // A daemon that does not know `evaluate` ignores it, so asking for it does no harm.
        Ok(BuildResult::single(self.define(request.definition.unwrap_or_default())?))
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let parsed: Reference = reference
            .parse()
            .map_err(|error| FrontendError::new(Code::InvalidArgument, format!("{error}")))?;
        self.state().seen.images.push(AskedImage {
            reference: reference.to_owned(),
            platform: request.platform.clone(),
            mode: request.resolve_mode,
        });
        let platform = request.platform.unwrap_or_else(|| self.info.default_platform());
        Ok(ResolvedImage::default()
            .with_reference(reference.to_owned())
            .with_digest(image_digest(&parsed))
            .with_config(base_config(&platform).to_string().into()))
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        crate::unanswerable::refuse_sums(&request)?;
        self.need("ResolveSourceMeta", "source.metaresolver")?;
        let mut meta = SourceMeta::default().with_source(source.clone());
        let (scheme, rest) = source.identifier.split_once("://").unwrap_or_default();
        match scheme {
            "docker-image" => {
                let request = ImageConfigRequest::default()
                    .with_platform(request.platform)
                    .with_resolve_mode(request.resolve_mode);
                let image = self.resolve_image(rest, request).await?;
                let (digest, config) = (image.digest, image.config);
                meta.image = Some(ImageFacts::default().with_digest(digest).with_config(config));
            }
            "git" => {
                let checksum = Digest::sha256(rest).to_string()["sha256:".len()..][..40].to_owned();
                meta.git = Some(GitFacts::default().with_checksum(checksum));
            }
            "http" | "https" => {
                let filename = rest.rsplit('/').next().unwrap_or_default().to_owned();
                let checksum = Digest::sha256(rest);
                meta.http =
                    Some(HttpFacts::default().with_checksum(checksum).with_filename(filename));
            }
            _ => {}
        }
        Ok(meta)
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let found = self.state().refs.get(of).cloned();
        found.map(Some).ok_or_else(|| missing(&of.0))
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let readable = self.files(of)?;
        let name = plain(path);
        let Some(content) = readable.files.and_then(|files| files.get(&name)) else {
            if !readable.local.is_empty() && !readable.declared.covers(&name) && name != IGNORE_FILE
            {
                self.undeclared(&readable, &name);
            }
            return Err(missing(path));
        };
        if !readable.declared.covers(&name) {
            self.undeclared(&readable, &name);
            return Err(missing(path));
        }
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(content.len());
        Ok(match range {
            Some(range) => {
                let start = at(range.offset);
                content.slice(start..at(range.offset.saturating_add(range.length)).max(start))
            }
            None => content.clone(),
        })
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        self.need("ReadDir", "readdir")?;
        let readable = self.files(of)?;
        let directory = plain(path);
        let mut entries: BTreeMap<String, FileStat> = BTreeMap::new();
        for (name, content) in readable.files.into_iter().flatten() {
            let below = match directory.as_str() {
                "" => Some(name.as_str()),
                directory => name.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')),
            };
            let Some(below) = below.filter(|_| readable.declared.covers(name)) else { continue };
            let stat = match below.split_once('/') {
                Some((directory, _)) => directory_stat(directory),
                None => file_stat(below, content),
            };
            entries.insert(stat.path.clone(), stat);
        }
        let pattern = include_pattern.to_owned();
        let wanted = |stat: &FileStat| pattern.is_empty() || matches(&[&pattern], &stat.path);
        Ok(entries.into_values().filter(wanted).collect())
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        self.need("StatFile", "statfile")?;
        let readable = self.files(of)?;
        let name = plain(path);
        let base = name.rsplit('/').next().unwrap_or_default();
        for (file, content) in readable.files.into_iter().flatten() {
            if *file == name && readable.declared.covers(file) {
                return Ok(file_stat(base, content));
            }
            if name.is_empty() || file.strip_prefix(&name).is_some_and(|rest| rest.starts_with('/'))
            {
                return Ok(directory_stat(base));
            }
        }
        Err(missing(path))
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        self.need("Evaluate", "gateway.evaluate")?;
        self.files(of).map(drop)
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        Ok(Inputs::new())
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.need("Warn", "gateway.warnings")?;
        self.state().seen.warnings.push(warning);
        Ok(())
    }
}

/// The digest of an image, which is the same for all its platforms.
fn image_digest(reference: &Reference) -> Digest {
    let made_up = || Digest::sha256(reference.to_string());
    reference.digest().cloned().unwrap_or_else(made_up)
}
