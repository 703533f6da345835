//! Progress as JSON, one line per batch, in the shape of BuildKit's `SolveStatus`.
//!
//! Field order, omitted fields and times are those of Go's encoder, because programs read them.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_progress::{Log, Progress, Stream, Vertex, VertexStatus, Warning};
use kiln_wire::pb;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// A batch as lines of JSON: one if it holds anything, none otherwise.
pub(crate) fn encode(batch: &[Progress]) -> String {
    let mut status = SolveStatus::default();
    for progress in batch {
        match progress {
            Progress::Vertex(vertex) => status.vertexes.push(vertex.into()),
            Progress::Status(part) => status.statuses.push(part.into()),
            Progress::Log(log) => status.logs.push(log.into()),
            Progress::Warning(warning) => status.warnings.push(warning.into()),
        }
    }
    if batch.is_empty() {
        return String::new();
    }
    // The shapes below have string keys only, so that they always encode.
    let line = serde_json::to_string(&status).unwrap_or_default();
    escape_html(&line) + "\n"
}

/// Go's encoder writes these characters so that JSON can stand in HTML.
fn escape_html(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[derive(Default, Serialize)]
struct SolveStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<JsonVertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<JsonStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<JsonLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<JsonWarning>,
}

#[derive(Serialize)]
struct JsonVertex {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<GoTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<GoTime>,
    #[serde(skip_serializing_if = "is_false")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(rename = "progressGroup", skip_serializing_if = "Option::is_none")]
    progress_group: Option<JsonGroup>,
}

#[derive(Serialize)]
struct JsonGroup {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    weak: bool,
}

#[derive(Serialize)]
struct JsonStatus {
    id: String,
    vertex: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    current: u64,
    timestamp: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<GoTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<GoTime>,
}

#[derive(Serialize)]
struct JsonLog {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: GoTime,
}

#[derive(Serialize)]
struct JsonWarning {
    vertex: String,
    #[serde(skip_serializing_if = "is_zero")]
    level: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(rename = "sourceInfo", skip_serializing_if = "Option::is_none")]
    source_info: Option<JsonSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    range: Vec<JsonRange>,
}

#[derive(Serialize)]
struct JsonSource {
    #[serde(skip_serializing_if = "String::is_empty")]
    filename: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    language: String,
}

#[derive(Serialize)]
struct JsonRange {
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<JsonPosition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<JsonPosition>,
}

#[derive(Serialize)]
struct JsonPosition {
    #[serde(skip_serializing_if = "is_zero")]
    line: i32,
    #[serde(skip_serializing_if = "is_zero")]
    character: i32,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A time as Go writes it: RFC 3339 with up to nine decimals, trailing zeros left out.
struct GoTime(SystemTime);

impl Serialize for GoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339_nano(self.0))
    }
}

/// RFC 3339 in UTC with nanoseconds, without trailing zeros.
pub(crate) fn rfc3339_nano(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    );
    let nanoseconds = format!("{:09}", time.nanosecond());
    let decimals = nanoseconds.trim_end_matches('0');
    if !decimals.is_empty() {
        text.push('.');
        text += decimals;
    }
    text + "Z"
}

impl From<&Vertex> for JsonVertex {
    fn from(vertex: &Vertex) -> Self {
        Self {
            digest: vertex.digest.to_string(),
            inputs: vertex.inputs.iter().map(ToString::to_string).collect(),
            name: vertex.name.clone(),
            started: vertex.started.map(GoTime),
            completed: vertex.completed.map(GoTime),
            cached: vertex.cached,
            error: vertex.error.clone(),
            progress_group: vertex.progress_group.as_ref().map(|group| JsonGroup {
                id: group.id.clone(),
                name: group.name.clone(),
                weak: group.weak,
            }),
        }
    }
}

impl From<&VertexStatus> for JsonStatus {
    fn from(status: &VertexStatus) -> Self {
        Self {
            id: status.id.clone(),
            vertex: status.vertex.to_string(),
            name: status.name.clone(),
            total: status.total,
            current: status.current,
            timestamp: GoTime(status.timestamp),
            started: status.started.map(GoTime),
            completed: status.completed.map(GoTime),
        }
    }
}

impl From<&Log> for JsonLog {
    fn from(log: &Log) -> Self {
        Self {
            vertex: log.vertex.to_string(),
            stream: match log.stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
            },
            data: STANDARD.encode(&log.data),
            timestamp: GoTime(log.timestamp),
        }
    }
}

impl From<&Warning> for JsonWarning {
    fn from(warning: &Warning) -> Self {
        Self {
            vertex: warning.vertex.to_string(),
            level: warning.level,
            short: STANDARD.encode(&warning.short),
            detail: warning.detail.iter().map(|line| STANDARD.encode(line)).collect(),
            url: warning.url.clone(),
            source_info: warning.info.as_ref().map(|info| JsonSource {
                filename: info.filename.clone(),
                data: STANDARD.encode(&info.data),
                language: info.language.clone(),
            }),
            range: warning.ranges.iter().map(JsonRange::from).collect(),
        }
    }
}

impl From<&pb::Range> for JsonRange {
    fn from(range: &pb::Range) -> Self {
        let position = |p: &pb::Position| JsonPosition { line: p.line, character: p.character };
        Self { start: range.start.as_ref().map(position), end: range.end.as_ref().map(position) }
    }
}
