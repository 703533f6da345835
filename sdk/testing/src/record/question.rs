//! Calls and answers as a file has them, and how people call them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_frontend::{
    BuildInfo, BuildResult, GitFacts, HttpFacts, ImageFacts, Ref, Refs, ResolvedImage, SourceMeta,
    Timestamp, Worker, grpc,
};
use kiln_frontend::{Code, FileStat, FrontendError, SourceIdentifier};
use kiln_llb::Definition;
use kiln_oci::{Digest, Platform};
use kiln_wire::proto::filetree::Stat;
use kiln_wire::proto::{gateway as wire, rpc};
use kiln_wire::status::RichStatus;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use crate::Steps;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    Solve {
        definition: Option<Graph>,
        frontend: String,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, Graph>,
        evaluate: bool,
        cache_imports: Vec<(String, BTreeMap<String, String>)>,
    },
    ResolveImage {
        reference: String,
        platform: Option<Platform>,
        resolve_mode: String,
        log_name: String,
        layout: Option<(String, String)>,
    },
    ResolveSource {
        source: Source,
        platform: Option<Platform>,
        resolve_mode: String,
        log_name: String,
        git_object: bool,
    },
    Definition {
        of: String,
    },
    ReadFile {
        of: String,
        path: String,
        range: Option<(u64, u64)>,
    },
    ReadDir {
        of: String,
        path: String,
        include_pattern: String,
    },
    StatFile {
        of: String,
        path: String,
    },
    Evaluate {
        of: String,
    },
    Inputs,
    Warn {
        vertex: String,
        level: i64,
        short: String,
        detail: Vec<String>,
        url: String,
        place: Message,
    },
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Answer {
    Result {
        refs: Names,
        metadata: BTreeMap<String, Blob>,
        /// As on the wire; empty if there are none.
        attestations: Message,
    },
    Image {
        reference: String,
        digest: String,
        config: Blob,
        non_image: Option<String>,
    },
    Source {
        source: Source,
        image: Option<(String, Blob)>,
        git: Option<Box<[Blob; 5]>>,
        http: Option<Http>,
    },
    Definition {
        definition: Option<Graph>,
    },
    File {
        content: Blob,
    },
    Directory {
        entries: Vec<Message>,
    },
    Stat {
        stat: Message,
    },
    Inputs {
        inputs: BTreeMap<String, Graph>,
    },
    Done,
    Error {
        code: i32,
        message: String,
        /// As on the wire.
        status: Message,
    },
}

/// What is known of a download: digest, name of the file, and when it changed.
type Http = (String, String, Option<(i64, i32)>);

/// Names of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Names {
    Single(Option<String>),
    ByPlatform(BTreeMap<String, Option<String>>),
}

/// A source by its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) identifier: String,
    pub(crate) attrs: BTreeMap<String, String>,
}

impl Source {
    pub(crate) fn of(source: SourceIdentifier) -> Self {
        Self { identifier: source.identifier, attrs: source.attrs }
    }

    pub(crate) fn identifier(self) -> SourceIdentifier {
        SourceIdentifier::new(self.identifier).attrs(self.attrs)
    }
}

/// A message of the protocol, in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message(String);

impl Message {
    pub(crate) fn of(message: &impl prost::Message) -> Self {
        Self(STANDARD.encode(message.encode_to_vec()))
    }

    /// The message; an empty one if somebody has spoilt it.
    pub(crate) fn decode<M: prost::Message + Default>(&self) -> M {
        M::decode(&*STANDARD.decode(&self.0).unwrap_or_default()).unwrap_or_default()
    }
}

/// What is known of a file, as a file has it.
pub(crate) fn stat_message(stat: &FileStat) -> Message {
    Message::of(&Stat::from(stat.clone()))
}

/// A graph: for people in words, for machines as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Graph {
    steps: Vec<String>,
    base64: String,
}

impl Graph {
    pub(crate) fn of(definition: Definition) -> Self {
        let steps = Steps::of(&definition);
        let steps = steps.map(|steps| steps.iter().map(|step| step.name()).collect());
        Self { steps: steps.unwrap_or_default(), base64: STANDARD.encode(definition.to_bytes()) }
    }

    pub(crate) fn definition(&self) -> Definition {
        let bytes = STANDARD.decode(&self.base64).unwrap_or_default();
        Definition::from_bytes(&bytes).unwrap_or_default()
    }
}

/// What a frontend knew from the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Info {
    options: BTreeMap<String, String>,
    workers: Vec<WorkerInfo>,
    session_id: String,
    llb_caps: Vec<String>,
    gateway_caps: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WorkerInfo {
    id: String,
    labels: BTreeMap<String, String>,
    platforms: Vec<Platform>,
}

impl Info {
    pub(crate) fn of(info: &BuildInfo) -> Self {
        let worker = |worker: &Worker| WorkerInfo {
            id: worker.id.clone(),
            labels: worker.labels.clone(),
            platforms: worker.platforms.clone(),
        };
        Self {
            options: info.options.0.clone(),
            workers: info.workers.iter().map(worker).collect(),
            session_id: info.session_id.clone(),
            llb_caps: info.llb_caps.iter().cloned().collect(),
            gateway_caps: info.gateway_caps.iter().cloned().collect(),
        }
    }

    pub(crate) fn build_info(&self) -> BuildInfo {
        let worker = |worker: &WorkerInfo| {
            Worker::default()
                .with_id(worker.id.clone())
                .with_labels(worker.labels.clone())
                .with_platforms(worker.platforms.clone())
        };
        BuildInfo::default()
            .with_options(self.options.clone().into_iter().collect())
            .with_workers(self.workers.iter().map(worker).collect())
            .with_session_id(self.session_id.clone())
            .with_llb_caps(self.llb_caps.iter().cloned().collect())
            .with_gateway_caps(self.gateway_caps.iter().cloned().collect())
    }
}

impl Question {
    /// The call in a line, for people.
    pub(crate) fn words(&self) -> String {
        let on = |platform: &Option<Platform>| {
            platform
                .as_ref()
                .map(|platform| format!(" for {}", platform.format_all()))
                .unwrap_or_default()
        };
        match self {
            Self::Solve { definition: Some(graph), .. } => match graph.steps.last() {
                Some(last) => format!("solve {} steps, the last `{last}`", graph.steps.len()),
                None => "solve an empty graph".to_owned(),
            },
            Self::Solve { frontend, options, .. } if !frontend.is_empty() => {
                format!("call the frontend {frontend} with {options:?}")
            }
            Self::Solve { .. } => "solve nothing".to_owned(),
            Self::ResolveImage { reference, platform, resolve_mode, .. } => {
                format!("resolve image {reference}{} ({resolve_mode})", on(platform))
            }
            Self::ResolveSource { source, platform, .. } => {
                format!("resolve source {}{}", source.identifier, on(platform))
            }
            Self::Definition { of } => format!("tell the graph of {of}"),
            Self::ReadFile { of, path, range: None } => format!("read file {path} of {of}"),
            Self::ReadFile { of, path, range: Some((offset, length)) } => {
                format!("read {length} bytes from {offset} of file {path} of {of}")
            }
            Self::ReadDir { of, path, include_pattern } => {
                format!("list {path} of {of} by `{include_pattern}`")
            }
            Self::StatFile { of, path } => format!("look at {path} of {of}"),
            Self::Evaluate { of } => format!("evaluate {of}"),
            Self::Inputs => "tell the inputs".to_owned(),
            Self::Warn { short, .. } => format!("warn: {short}"),
        }
    }

    /// The graph of a solve.
    pub(crate) fn graph(&self) -> Option<Definition> {
        match self {
            Self::Solve { definition, .. } => definition.as_ref().map(Graph::definition),
            _ => None,
        }
    }
}

/// A digest, as a file has it: empty if there is none.
fn written(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

/// Graphs by name, as a file has them.
pub(crate) fn graphs(inputs: BTreeMap<String, Definition>) -> BTreeMap<String, Graph> {
    inputs.into_iter().map(|(name, definition)| (name, Graph::of(definition))).collect()
}

impl Answer {
    pub(crate) fn error(error: &FrontendError) -> Self {
        let rpc = error.status().to_rpc();
        Self::Error { code: rpc.code, message: rpc.message.clone(), status: Message::of(&rpc) }
    }

    pub(crate) fn result(mut result: BuildResult<Ref>) -> Self {
        let one = |one: Option<Ref>| one.map(|one| one.0);
        let refs = match std::mem::replace(&mut result.refs, Refs::Single(None)) {
            Refs::Single(single) => Names::Single(one(single)),
            Refs::ByPlatform(map) => {
                Names::ByPlatform(map.into_iter().map(|(id, name)| (id, one(name))).collect())
            }
        };
        let metadata = std::mem::take(&mut result.metadata);
        let metadata = metadata.into_iter().map(|(key, value)| (key, Blob::of(&value)));
        let rest = match result.attestations.is_empty() {
            true => wire::Result::default(),
            false => grpc::result_to_wire(result, &BTreeMap::new()),
        };
        Self::Result { refs, metadata: metadata.collect(), attestations: Message::of(&rest) }
    }

    pub(crate) fn image(image: ResolvedImage) -> Self {
        let ResolvedImage { reference, digest, config, non_image, .. } = image;
        Self::Image { reference, digest: written(digest), config: Blob::of(&config), non_image }
    }

    pub(crate) fn source(meta: SourceMeta) -> Self {
        Self::Source {
            source: Source::of(meta.source),
            image: meta.image.map(|image| (written(image.digest), Blob::of(&image.config))),
            git: meta.git.map(|git| {
                Box::new([
                    Blob::Text(git.checksum),
                    Blob::Text(git.reference),
                    Blob::Text(git.commit_checksum),
                    Blob::of(&git.commit_object),
                    Blob::of(&git.tag_object),
                ])
            }),
            http: meta.http.map(|http| {
                (
                    written(http.checksum),
                    http.filename,
                    http.last_modified.map(|at| (at.seconds, at.nanos)),
                )
            }),
        }
    }

    pub(crate) fn into_result(self) -> Result<BuildResult<Ref>, FrontendError> {
        let Self::Result { refs, metadata, attestations } = self else {
            return Err(self.failure());
        };
        let mut result = grpc::result_from_wire(attestations.decode());
        result.metadata = metadata.into_iter().map(|(key, blob)| (key, blob.bytes())).collect();
        result.refs = match refs {
            Names::Single(one) => Refs::Single(one.map(Ref)),
            Names::ByPlatform(map) => {
                Refs::ByPlatform(map.into_iter().map(|(id, one)| (id, one.map(Ref))).collect())
            }
        };
        Ok(result)
    }

    pub(crate) fn into_image(self) -> Result<ResolvedImage, FrontendError> {
        match self {
            Self::Image { reference, digest, config, non_image } => Ok(ResolvedImage::default()
                .with_reference(reference)
                .with_digest(digest.parse().ok())
                .with_config(config.bytes())
                .with_non_image(non_image)),
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_source(self) -> Result<SourceMeta, FrontendError> {
        let Self::Source { source, image, git, http } = self else { return Err(self.failure()) };
        let text = |blob: &Blob| String::from_utf8_lossy(&blob.bytes()).into_owned();
        Ok(SourceMeta::default()
            .with_source(source.identifier())
            .with_image(image.map(|(digest, config)| {
                ImageFacts::default().with_digest(digest.parse().ok()).with_config(config.bytes())
            }))
            .with_git(git.map(|git| {
                let [checksum, reference, commit_checksum, commit, tag] = *git;
                GitFacts::default()
                    .with_checksum(text(&checksum))
                    .with_reference(text(&reference))
                    .with_commit_checksum(text(&commit_checksum))
                    .with_commit_object(commit.bytes())
                    .with_tag_object(tag.bytes())
            }))
            .with_http(http.map(|(checksum, filename, at)| {
                HttpFacts::default()
                    .with_checksum(checksum.parse().ok())
                    .with_filename(filename)
                    .with_last_modified(at.map(|(seconds, nanos)| Timestamp { seconds, nanos }))
            })))
    }

    pub(crate) fn into_definition(self) -> Result<Option<Definition>, FrontendError> {
        match self {
            Self::Definition { definition } => Ok(definition.map(|graph| graph.definition())),
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_file(self) -> Result<bytes::Bytes, FrontendError> {
        match self {
            Self::File { content } => Ok(content.bytes()),
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_entries(self) -> Result<Vec<FileStat>, FrontendError> {
        match self {
            Self::Directory { entries } => {
                Ok(entries.iter().map(|entry| entry.decode::<Stat>().into()).collect())
            }
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_stat(self) -> Result<FileStat, FrontendError> {
        match self {
            Self::Stat { stat } => Ok(stat.decode::<Stat>().into()),
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_inputs(self) -> Result<BTreeMap<String, Definition>, FrontendError> {
        match self {
            Self::Inputs { inputs } => {
                let graphs = inputs.into_iter();
                Ok(graphs.map(|(name, graph)| (name, graph.definition())).collect())
            }
            other => Err(other.failure()),
        }
    }

    pub(crate) fn into_done(self) -> Result<(), FrontendError> {
        match self {
            Self::Done => Ok(()),
            other => Err(other.failure()),
        }
    }

    /// The error that was answered, or that the answer fits another question.
    fn failure(self) -> FrontendError {
        match self {
            Self::Error { status, .. } => {
                RichStatus::from_rpc(status.decode::<rpc::Status>()).into()
            }
            _ => FrontendError::new(Code::DataLoss, "the recording answers another question here"),
        }
    }
}
