//! All a frontend may ask for while it builds.
//!
//! [`Bridge`] has one implementation over the gateway protocol ([`crate::grpc::GrpcBridge`]) and one
//! inside the daemon, for frontends that are linked in. Requests and answers are plain values.

use std::collections::{BTreeMap, BTreeSet};

use crate::containers::Containers;
use crate::{
    BuildResult, Code, FileStat, FrontendError, Options, SourceIdentifier, SourceInfo, SourcePolicy,
};
use async_trait::async_trait;
use bytes::Bytes;
use kiln_llb::{Definition, SourceRange};
use kiln_oci::{Descriptor, Digest, Platform};

/// Named graphs a caller hands to a frontend.
pub type Inputs = BTreeMap<String, Definition>;

/// A result at the daemon, by name. It lives as long as the build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(pub String);

/// What a frontend knows from the start.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The options of the request.
    pub options: Options,
    /// The workers that will run the build, the default one first.
    pub workers: Vec<Worker>,
    /// The client's session.
    pub session_id: String,
    /// LLB features of the daemon.
    pub llb_caps: BTreeSet<String>,
    /// Gateway features of the daemon.
    pub gateway_caps: BTreeSet<String>,
}

kiln_llb::setters!(BuildInfo {
    with_options(options: Options),
    with_workers(workers: Vec<Worker>),
    with_session_id(session_id: impl Into<String>),
    with_llb_caps(llb_caps: BTreeSet<String>),
    with_gateway_caps(gateway_caps: BTreeSet<String>),
});

impl BuildInfo {
    /// The session to name in local sources.
    ///
    /// Where the daemon tells directories of different clients apart by itself this is empty, and
    /// the same input gives the same LLB every time. Elsewhere two builds at once would see each
    /// other's files without it.
    pub fn local_session(&self) -> &str {
        match self.gateway_caps.contains(kiln_wire::caps::SESSIONS_APART) {
            true => "",
            false => &self.session_id,
        }
    }

    /// The platform a build is for unless the user says otherwise: the default worker's first.
    pub fn default_platform(&self) -> Platform {
        let first = self.workers.first().and_then(|worker| worker.platforms.first());
        first.cloned().unwrap_or_else(Platform::host)
    }
}

/// A worker of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Labels such as `org.mobyproject.buildkit.worker.executor`.
    pub labels: BTreeMap<String, String>,
    /// What it runs, native first.
    pub platforms: Vec<Platform>,
}

kiln_llb::setters!(Worker {
    with_id(id: impl Into<String>),
    with_labels(labels: BTreeMap<String, String>),
    with_platforms(platforms: Vec<Platform>),
});

/// A graph or another frontend to solve.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Solve {
    /// The graph; empty if `frontend` is set.
    pub definition: Option<Definition>,
    /// The name of a frontend to call, such as `gateway.v0`.
    pub frontend: String,
    /// Options for that frontend.
    pub options: BTreeMap<String, String>,
    /// Graphs for that frontend.
    pub inputs: Inputs,
    /// Run it now rather than when its result is read.
    pub evaluate: bool,
    /// Caches to look into, besides the daemon's own.
    pub cache_imports: Vec<CacheImport>,
    /// Policies for the sources of this graph, which are asked before the build's own.
    pub source_policies: Vec<SourcePolicy>,
}

kiln_llb::setters!(Solve {
    with_definition(definition: impl Into<Option<Definition>>),
    with_frontend(frontend: impl Into<String>),
    with_options(options: BTreeMap<String, String>),
    with_inputs(inputs: Inputs),
    with_evaluate(evaluate: bool),
    with_cache_imports(cache_imports: Vec<CacheImport>),
    with_source_policies(source_policies: Vec<SourcePolicy>),
});

/// A cache outside the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheImport {
    /// What kind of cache, such as `registry` or `local`.
    pub kind: String,
    /// Where it is, in the words of its kind, such as `ref`.
    pub attrs: BTreeMap<String, String>,
}

kiln_llb::setters!(CacheImport {
    with_kind(kind: impl Into<String>),
    with_attrs(attrs: BTreeMap<String, String>),
});

/// A question for the config of an image.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImageConfigRequest {
    /// For this platform; the default platform if absent.
    pub platform: Option<Platform>,
    /// `default`, `pull` or `local`.
    pub resolve_mode: String,
    /// The name of the vertex that shows the question.
    pub log_name: String,
    /// The layout that has the image; a registry if absent.
    pub layout: Option<LayoutStore>,
    /// Policies for this image, which are asked before the build's own.
    pub source_policies: Vec<SourcePolicy>,
}

kiln_llb::setters!(ImageConfigRequest {
    with_platform(platform: impl Into<Option<Platform>>),
    with_resolve_mode(resolve_mode: impl Into<String>),
    with_log_name(log_name: impl Into<String>),
    with_layout(layout: impl Into<Option<LayoutStore>>),
    with_source_policies(source_policies: Vec<SourcePolicy>),
});

/// An OCI layout that a client's session offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutStore {
    /// The session.
    pub session_id: String,
    /// The name of the store in that session.
    pub store_id: String,
}

kiln_llb::setters!(LayoutStore {
    with_session_id(session_id: impl Into<String>),
    with_store_id(store_id: impl Into<String>),
});

/// An image as the daemon found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedImage {
    /// The reference, which a policy may have changed.
    pub reference: String,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
    /// Its config, as it came.
    pub config: Bytes,
    /// A source policy turned the image into a source that is none: its identifier, such as
    /// `https://example.com/rootfs.tgz`. The other fields are empty then.
    pub non_image: Option<String>,
}

kiln_llb::setters!(ResolvedImage {
    with_reference(reference: impl Into<String>),
    with_digest(digest: impl Into<Option<Digest>>),
    with_config(config: Bytes),
    with_non_image(non_image: impl Into<Option<String>>),
});

/// A question about a source.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SourceRequest {
    /// For this platform; the default platform if absent.
    pub platform: Option<Platform>,
    /// `default`, `pull` or `local`, for images.
    pub resolve_mode: String,
    /// The name of the vertex that shows the question; it is not shown if this is empty.
    pub log_name: String,
    /// For git: the commit itself is wanted too, not just its id.
    pub git_object: bool,
    /// For images: the digest is enough, the config stays empty.
    pub no_config: bool,
    /// For images: what is claimed about it is wanted too.
    pub attestation_chain: bool,
    /// For images: the predicate types of the statements that are wanted with that.
    pub attestations: Vec<String>,
    /// For HTTP: another sum of the file is wanted too, for which it is fetched.
    pub checksum: Option<ChecksumQuestion>,
    /// Policies for this source, which are asked before the build's own.
    pub source_policies: Vec<SourcePolicy>,
}

kiln_llb::setters!(SourceRequest {
    with_platform(platform: impl Into<Option<Platform>>),
    with_resolve_mode(resolve_mode: impl Into<String>),
    with_log_name(log_name: impl Into<String>),
    with_git_object(git_object: bool),
    with_no_config(no_config: bool),
    with_attestation_chain(attestation_chain: bool),
    with_attestations(attestations: Vec<String>),
    with_checksum(checksum: impl Into<Option<ChecksumQuestion>>),
    with_source_policies(source_policies: Vec<SourcePolicy>),
});

/// Asks for the sum of a file and of some bytes behind it, as signatures are made over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChecksumQuestion {
    /// By which algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Bytes that follow those of the file; at most [`MAX_SUFFIX`].
    pub suffix: Bytes,
}

impl ChecksumQuestion {
    /// Asks for a sum of the file alone.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self { algorithm, suffix: Bytes::new() }
    }
}

kiln_llb::setters!(ChecksumQuestion {
    with_suffix(suffix: Bytes),
});

/// The longest [`ChecksumQuestion::suffix`], in bytes.
pub const MAX_SUFFIX: usize = 4096;

/// How a sum is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
// Complete, because who answers has to know every one.
pub enum ChecksumAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The answer to a [`ChecksumQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChecksumAnswer {
    /// The sum.
    pub digest: Digest,
    /// The bytes that it was asked with.
    pub suffix: Bytes,
}

impl ChecksumAnswer {
    /// The sum of a file alone.
    pub fn new(digest: Digest) -> Self {
        Self { digest, suffix: Bytes::new() }
    }
}

kiln_llb::setters!(ChecksumAnswer {
    with_suffix(suffix: Bytes),
});

/// What is known of a source without fetching it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SourceMeta {
    /// The source, which a policy may have changed.
    pub source: SourceIdentifier,
    /// For images.
    pub image: Option<ImageFacts>,
    /// For git.
    pub git: Option<GitFacts>,
    /// For HTTP.
    pub http: Option<HttpFacts>,
}

kiln_llb::setters!(SourceMeta {
    with_source(source: SourceIdentifier),
    with_image(image: impl Into<Option<ImageFacts>>),
    with_git(git: impl Into<Option<GitFacts>>),
    with_http(http: impl Into<Option<HttpFacts>>),
});

/// What is known of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageFacts {
    /// The digest of its manifest or index, if the daemon tells one.
    pub digest: Option<Digest>,
    /// Its config, as it came.
    pub config: Bytes,
    /// What is claimed about it, if that was asked for and its name means an index.
    pub attestations: Option<AttestationChain>,
}

kiln_llb::setters!(ImageFacts {
    with_digest(digest: impl Into<Option<Digest>>),
    with_config(config: Bytes),
    with_attestations(attestations: impl Into<Option<AttestationChain>>),
});

/// What is claimed about an image, by digest. Nothing of it is verified but that it has its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttestationChain {
    /// The index.
    pub root: Digest,
    /// The image.
    pub image_manifest: Digest,
    /// The manifest of its attestations, if it has any.
    pub attestation_manifest: Option<Digest>,
    /// Manifests of signatures of that.
    pub signature_manifests: Vec<Digest>,
    /// Everything but the image itself.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl AttestationChain {
    /// An image of an index, of which nothing is claimed.
    pub fn new(root: Digest, image_manifest: Digest) -> Self {
        Self {
            root,
            image_manifest,
            attestation_manifest: None,
            signature_manifests: Vec::new(),
            blobs: Vec::new(),
        }
    }
}

kiln_llb::setters!(AttestationChain {
    with_attestation_manifest(attestation_manifest: impl Into<Option<Digest>>),
    with_signature_manifests(signature_manifests: Vec<Digest>),
    with_blobs(blobs: Vec<(Descriptor, Bytes)>),
});

/// What is known of a git repository at a reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitFacts {
    /// The commit, or the tag object that names it.
    pub checksum: String,
    /// The full name of the reference, such as `refs/heads/main`.
    pub reference: String,
    /// The commit that a tag object names; empty if `checksum` is the commit.
    pub commit_checksum: String,
    /// The commit as git stores it, if it was asked for and the daemon tells.
    pub commit_object: Bytes,
    /// The tag as git stores it, likewise, if there is one.
    pub tag_object: Bytes,
}

kiln_llb::setters!(GitFacts {
    with_checksum(checksum: impl Into<String>),
    with_reference(reference: impl Into<String>),
    with_commit_checksum(commit_checksum: impl Into<String>),
    with_commit_object(commit_object: Bytes),
    with_tag_object(tag_object: Bytes),
});

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And so many nanoseconds.
    pub nanos: i32,
}

/// What is known of a file behind a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpFacts {
    /// The digest of the body.
    pub checksum: Option<Digest>,
    /// The name the file gets.
    pub filename: String,
    /// When the server says it last changed, if it does.
    pub last_modified: Option<Timestamp>,
    /// The sum that was asked for.
    pub summed: Option<ChecksumAnswer>,
}

kiln_llb::setters!(HttpFacts {
    with_checksum(checksum: impl Into<Option<Digest>>),
    with_filename(filename: impl Into<String>),
    with_last_modified(last_modified: impl Into<Option<Timestamp>>),
    with_summed(summed: impl Into<Option<ChecksumAnswer>>),
});

/// A part of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Something the user should know although the build goes on.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Warning {
    /// The digest of the vertex it belongs to.
    pub vertex: String,
    /// 1 is the most important.
    pub level: i64,
    /// One line.
    pub short: String,
    /// More lines.
    pub detail: Vec<String>,
    /// Where to read more.
    pub url: String,
    /// The user's file.
    pub info: Option<SourceInfo>,
    /// Places in it.
    pub ranges: Vec<SourceRange>,
}

kiln_llb::setters!(Warning {
    with_vertex(vertex: impl Into<String>),
    with_level(level: i64),
    with_short(short: impl Into<String>),
    with_detail(detail: Vec<String>),
    with_url(url: impl Into<String>),
    with_info(info: impl Into<Option<SourceInfo>>),
    with_ranges(ranges: Vec<SourceRange>),
});

/// The daemon, as a frontend sees it.
///
/// Every call may fail with the daemon's own words, which carry its details: a [`FrontendError`] that
/// a frontend gives back as it is.
#[async_trait]
pub trait Bridge: Send + Sync {
    /// What is known from the start.
    fn info(&self) -> &BuildInfo;

    /// Solves a graph or calls another frontend. Without [`Solve::evaluate`] nothing runs yet.
    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError>;

    /// Finds out an image's digest and config.
    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError>;

    /// Finds out about a source without fetching it.
    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError>;

    /// The graph that makes a result, so that more can be put on top of it. `None` is an empty
    /// file system.
    ///
    /// This is what lets one frontend use another as a function.
    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let message = format!("this daemon does not tell the graph of {}", of.0);
        Err(FrontendError::new(Code::Unimplemented, message))
    }

    /// Reads a file of a result, or a part of it. Symbolic links stay inside the result.
    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError>;

    /// Lists a directory of a result, one level. An empty pattern means all.
    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError>;

    /// Looks at a path of a result.
    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError>;

    /// Runs what a result needs, now.
    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError>;

    /// The graphs the caller handed over.
    async fn inputs(&self) -> Result<Inputs, FrontendError>;

    /// What runs containers on results, if this daemon does that for frontends.
    fn containers(&self) -> Option<&dyn Containers> {
        None
    }

    /// Shows a warning.
    async fn warn(&self, warning: Warning) -> Result<(), FrontendError>;
}
