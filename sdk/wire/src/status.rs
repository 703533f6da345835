//! gRPC statuses with BuildKit's typed details.
//!
//! Details travel as `google.protobuf.Any` whose value is *JSON*, under type URLs such as
//! `github.com/moby/buildkit/errdefs.Source+json`. Details this version does not know are kept as
//! they came, so that a proxy loses nothing.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, SerializeOptions};
use prost_types::Any;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::proto::{DESCRIPTORS, errdefs, pb, rpc};

const PREFIX: &str = "github.com/moby/buildkit/";
const SOLVE: &str = "errdefs.Solve";
const SOURCE: &str = "errdefs.Source";
const COMPATIBILITY: &str = "errdefs.CompatibilityFeature";

/// One typed detail of an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Which vertex failed.
    Vertex(String),
    /// Where in the user's files the error is.
    Source(Source),
    /// Which operation failed, and the names of what it was done on and of what it left.
    Solve(Box<errdefs::Solve>),
    /// Exit code of a process of a gateway container.
    Exit(u32),
    /// A sub-request nobody answers.
    Subrequest(String),
    /// A frontend capability that is missing.
    FrontendCap(String),
    /// Something that a version of compatibility does not have.
    CompatibilityFeature {
        /// The version.
        version: i64,
        /// What it does not have.
        feature: String,
    },
    /// Anything else, as it came.
    Other(Any),
}

/// A place in a user's file: the file and line ranges, as `errdefs.Source`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The file.
    pub info: pb::SourceInfo,
    /// The ranges in it.
    pub ranges: Vec<pb::Range>,
}

/// An error with details, on its way into or out of a gRPC status.
#[derive(Clone, Debug)]
pub struct RichStatus {
    /// The gRPC code.
    pub code: Code,
    /// What went wrong.
    pub message: String,
    /// The details, outermost last.
    pub details: Vec<Detail>,
}

impl RichStatus {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// The sources named by the details, innermost first.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.details.iter().filter_map(|detail| match detail {
            Detail::Source(source) => Some(source),
            _ => None,
        })
    }

    /// Reads a status as it came over the wire.
    pub fn from_status(status: &Status) -> Self {
        let details = rpc::Status::decode(status.details()).map(|s| s.details).unwrap_or_default();
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            details: details.into_iter().map(Detail::from_any).collect(),
        }
    }

    /// Reads an error a frontend returned.
    pub fn from_rpc(status: rpc::Status) -> Self {
        Self {
            code: Code::from_i32(status.code),
            message: status.message,
            details: status.details.into_iter().map(Detail::from_any).collect(),
        }
    }

    /// The same as a message of its own, as frontends return it.
    pub fn to_rpc(&self) -> rpc::Status {
        rpc::Status {
            code: self.code as i32,
            message: self.message.clone(),
            details: self.details.iter().map(Detail::to_any).collect(),
        }
    }

    /// The status for the wire.
    pub fn to_status(&self) -> Status {
        if self.details.is_empty() {
            return Status::new(self.code, self.message.clone());
        }
        Status::with_details(
            self.code,
            self.message.clone(),
            Bytes::from(self.to_rpc().encode_to_vec()),
        )
    }
}

impl std::fmt::Display for RichStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RichStatus {}

impl Detail {
    fn from_any(any: Any) -> Self {
        let Some(kind) = any.type_url.strip_prefix(PREFIX) else { return Self::Other(any) };
        let json = any.value.as_slice();
        let parsed = match kind {
            "errdefs.Vertex+json" => {
                from_json::<json::Vertex>(json).map(|v| Self::Vertex(v.digest))
            }
            "errdefs.Source+json" => read(SOURCE, json).map(|s: errdefs::Source| {
                Self::Source(Source { info: s.info.unwrap_or_default(), ranges: s.ranges })
            }),
            "errdefs.Solve+json" => read(SOLVE, json).map(|solve| Self::Solve(Box::new(solve))),
            "errdefs.Subrequest+json" => {
                from_json::<json::Named>(json).map(|n| Self::Subrequest(n.name))
            }
            "errdefs.FrontendCap+json" => {
                from_json::<json::Named>(json).map(|n| Self::FrontendCap(n.name))
            }
            "errdefs.CompatibilityFeature+json" => {
                read(COMPATIBILITY, json).map(|it: errdefs::CompatibilityFeature| {
                    Self::CompatibilityFeature { version: it.version, feature: it.feature }
                })
            }
            "gatewayapi.ExitMessage+json" => {
                from_json::<json::Exit>(json).map(|e| Self::Exit(e.code))
            }
            _ => None,
        };
        parsed.unwrap_or(Self::Other(any))
    }

    fn to_any(&self) -> Any {
        let (kind, value) = match self {
            Self::Vertex(digest) => {
                ("errdefs.Vertex+json", to_json(&json::Vertex { digest: digest.clone() }))
            }
            Self::Source(source) => {
                let Source { info, ranges } = source.clone();
                let source = errdefs::Source { info: Some(info), ranges };
                ("errdefs.Source+json", plain_json(SOURCE, &source))
            }
            Self::Solve(solve) => ("errdefs.Solve+json", protobuf_json(SOLVE, &**solve)),
            Self::Subrequest(name) => {
                ("errdefs.Subrequest+json", to_json(&json::Named { name: name.clone() }))
            }
            Self::FrontendCap(name) => {
                ("errdefs.FrontendCap+json", to_json(&json::Named { name: name.clone() }))
            }
            Self::CompatibilityFeature { version, feature } => {
                let (version, feature) = (*version, feature.clone());
                let missing = errdefs::CompatibilityFeature { version, feature };
                ("errdefs.CompatibilityFeature+json", plain_json(COMPATIBILITY, &missing))
            }
            Self::Exit(code) => {
                ("gatewayapi.ExitMessage+json", to_json(&json::Exit { code: *code }))
            }
            Self::Other(any) => return any.clone(),
        };
        Any { type_url: format!("{PREFIX}{kind}"), value }
    }
}

fn from_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A detail as Go's `encoding/json` writes the generated struct: fields have the schema's names, and
/// numbers are numbers.
fn plain_json<M: Message>(name: &str, message: &M) -> Vec<u8> {
    written(
        name,
        message,
        &SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false),
    )
}

/// A detail by the rules of protobuf's own JSON.
fn protobuf_json<M: Message>(name: &str, message: &M) -> Vec<u8> {
    written(name, message, &SerializeOptions::new())
}

fn written<M: Message>(name: &str, message: &M, options: &SerializeOptions) -> Vec<u8> {
    let Some(mut dynamic) = empty(name) else { return Vec::new() };
    let mut json = serde_json::Serializer::new(Vec::new());
    let written = dynamic.transcode_from(message).is_ok()
        && dynamic.serialize_with_options(&mut json, options).is_ok();
    if written { json.into_inner() } else { Vec::new() }
}

/// Reads either.
fn read<M: Message + Default>(name: &str, json: &[u8]) -> Option<M> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(empty(name)?.descriptor(), &mut json).ok()?;
    message.transcode_to().ok()
}

fn empty(name: &str) -> Option<DynamicMessage> {
    let pool = DescriptorPool::decode(DESCRIPTORS).ok()?;
    Some(DynamicMessage::new(pool.get_message_by_name(name)?))
}

/// The JSON shapes of the details, as Go's `encoding/json` writes the generated structs.
mod json {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Vertex {
        #[serde(default)]
        pub digest: String,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Named {
        #[serde(default)]
        pub name: String,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Exit {
        #[serde(rename = "Code", default)]
        pub code: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_does_not_have_is_written_with_numbers_as_numbers() {
        let feature = "image exporter compression=zstd".to_owned();
        let detail = Detail::CompatibilityFeature { version: 10, feature };
        let any = detail.to_any();
        assert_eq!(any.type_url, "github.com/moby/buildkit/errdefs.CompatibilityFeature+json");
        let json = r#"{"version":10,"feature":"image exporter compression=zstd"}"#;
        assert_eq!(String::from_utf8_lossy(&any.value), json);
        assert_eq!(Detail::from_any(any), detail);
    }

    #[test]
    fn a_failed_operation_is_written_as_protobuf_writes_json() {
        let action = pb::FileAction {
            secondary_input: -1,
            action: Some(pb::file_action::Action::Mkdir(pb::FileActionMkDir {
                path: "/a".into(),
                timestamp: -1,
                ..Default::default()
            })),
            ..Default::default()
        };
        let op = pb::Op {
            op: Some(pb::op::Op::File(pb::FileOp { actions: vec![action] })),
            ..Default::default()
        };
        let solve = errdefs::Solve {
            input_i_ds: vec!["a".into(), String::new()],
            op: Some(op),
            subject: Some(errdefs::solve::Subject::File(errdefs::FileAction { index: 2 })),
            ..Default::default()
        };
        let detail = Detail::Solve(Box::new(solve));
        let any = detail.to_any();
        assert_eq!(any.type_url, "github.com/moby/buildkit/errdefs.Solve+json");
        let json: serde_json::Value = serde_json::from_slice(&any.value).unwrap();
        assert_eq!(json["inputIDs"], serde_json::json!(["a", ""]));
        assert_eq!(json["file"]["index"], "2");
        assert_eq!(json["op"]["file"]["actions"][0]["mkdir"]["timestamp"], "-1");
        assert_eq!(Detail::from_any(any), detail);
        let broken = Any {
            type_url: "github.com/moby/buildkit/errdefs.Solve+json".into(),
            value: b"{\"inputIDs\": 1}".to_vec(),
        };
        assert_eq!(Detail::from_any(broken.clone()), Detail::Other(broken));
    }

    #[test]
    fn a_source_survives_the_wire() {
        let metadata = pb::OpMetadata {
            ignore_cache: true,
            linux_resources: Some(pb::LinuxResources { memory: 1 << 40, ..Default::default() }),
            ..Default::default()
        };
        let source = Source {
            info: pb::SourceInfo {
                filename: "Mockerfile".into(),
                data: "a: b\n".into(),
                language: "YAML".into(),
                // Where the file was read from.
                definition: Some(pb::Definition {
                    def: vec!["op".into()],
                    metadata: [("d".to_owned(), metadata)].into(),
                    source: None,
                }),
            },
            ranges: vec![pb::Range {
                start: Some(pb::Position { line: 1, character: 0 }),
                end: None,
            }],
        };
        let status = RichStatus::new(Code::InvalidArgument, "unknown key")
            .with(Detail::Source(source.clone()))
            .with(Detail::Other(Any { type_url: "x/y".into(), value: vec![1] }));
        let json = status.details[0].to_any().value;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let metadata = &json["info"]["definition"]["metadata"]["d"];
        assert_eq!(
            (&metadata["ignore_cache"], &metadata["linux_resources"]["memory"]),
            (&true.into(), &(1_u64 << 40).into())
        );
        let again = RichStatus::from_status(&status.to_status());
        assert_eq!(again.sources().collect::<Vec<_>>(), [&source]);
        assert_eq!(again.details[1], Detail::Other(Any { type_url: "x/y".into(), value: vec![1] }));
    }
}
