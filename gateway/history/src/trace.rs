//! The steps of a build as spans, a JSON document each, as OpenTelemetry's Go library writes them.
//!
//! A record and its progress come in, text goes out: a span for the build, and below it one for each
//! step that began. Ids are made of the id of the build, so that they are the same every time.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_pb::control::{BuildHistoryRecord, StatusResponse, Vertex};
use prost_types::Timestamp;
use serde::Serialize;

/// The media type of the spans of a build.
pub(crate) const TRACE_MEDIA_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";
/// What a span within a process is.
const INTERNAL: u8 = 1;
/// What a span of an answer to a client is.
const SERVER: u8 = 2;

/// The spans of a build that has ended, a line each.
pub(crate) fn lines<'a>(
    record: &BuildHistoryRecord,
    log: impl IntoIterator<Item = &'a StatusResponse>,
) -> Vec<String> {
    let steps = steps(log);
    let trace = id(&[&record.r#ref, "trace"], 32);
    let root = Context::new(&trace, id(&[&record.r#ref, "build"], 16));
    let build = Span {
        name: "moby.buildkit.v1.Control/Solve",
        span_context: root.clone(),
        parent: Context::new(&"0".repeat(32), "0".repeat(16)),
        span_kind: SERVER,
        start_time: text(record.created_at),
        end_time: text(record.completed_at),
        attributes: vec![attribute("ref", &record.r#ref), attribute("frontend", &record.frontend)],
        status: Status::of(record.error.as_ref().map(|error| error.message.as_str())),
        child_span_count: steps.len(),
        ..Span::default()
    };
    let below = steps.values().map(|vertex| Span {
        name: &vertex.name,
        span_context: Context::new(&trace, id(&[&record.r#ref, "step", &vertex.digest], 16)),
        parent: root.clone(),
        span_kind: INTERNAL,
        start_time: text(vertex.started),
        end_time: text(vertex.completed.or(record.completed_at)),
        attributes: vec![attribute("vertex", &vertex.digest)],
        status: Status::of(Some(vertex.error.as_str()).filter(|error| !error.is_empty())),
        ..Span::default()
    });
    // Spans are texts and numbers, for which there is always JSON.
    let line = |span: Span<'_>| serde_json::to_string(&span).unwrap_or_default() + "\n";
    std::iter::once(build).chain(below).map(line).collect()
}

/// The last that is known of each step that began.
fn steps<'a>(log: impl IntoIterator<Item = &'a StatusResponse>) -> BTreeMap<&'a str, &'a Vertex> {
    let vertices = log.into_iter().flat_map(|message| &message.vertexes);
    let began = vertices.filter(|vertex| vertex.started.is_some());
    began.map(|vertex| (vertex.digest.as_str(), vertex)).collect()
}

/// An id of so many hexadecimal digits.
fn id(parts: &[&str], digits: usize) -> String {
    Digest::sha256(parts.join("\n")).hex()[..digits].to_owned()
}

fn text(time: Option<Timestamp>) -> String {
    time.unwrap_or_default().to_string()
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Span<'a> {
    name: &'a str,
    span_context: Context,
    parent: Context,
    span_kind: u8,
    start_time: String,
    end_time: String,
    attributes: Vec<Attribute<'a>>,
    events: Option<()>,
    links: Option<()>,
    status: Status<'a>,
    dropped_attributes: usize,
    dropped_events: usize,
    dropped_links: usize,
    child_span_count: usize,
    resource: Service,
    instrumentation_library: Library,
}

#[derive(Clone, Default, Serialize)]
struct Context {
    #[serde(rename = "TraceID")]
    trace: String,
    #[serde(rename = "SpanID")]
    span: String,
    #[serde(rename = "TraceFlags")]
    flags: &'static str,
    #[serde(rename = "TraceState")]
    state: &'static str,
    #[serde(rename = "Remote")]
    remote: bool,
}

impl Context {
    fn new(trace: &str, span: String) -> Self {
        Self { trace: trace.to_owned(), span, flags: "01", state: "", remote: false }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute<'a> {
    key: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Value<'a> {
    r#type: &'static str,
    value: &'a str,
}

fn attribute<'a>(key: &'a str, value: &'a str) -> Attribute<'a> {
    Attribute { key, value: Value { r#type: "STRING", value } }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status<'a> {
    code: Code,
    description: &'a str,
}

#[derive(Default, Serialize)]
enum Code {
    #[default]
    Unset,
    Error,
}

impl<'a> Status<'a> {
    fn of(error: Option<&'a str>) -> Self {
        match error {
            Some(description) => Self { code: Code::Error, description },
            None => Self::default(),
        }
    }
}

/// What makes the spans.
#[derive(Default)]
struct Service;

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [attribute("service.name", "kilnd")].serialize(serializer)
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Library {
    name: &'static str,
    version: &'static str,
    #[serde(rename = "SchemaURL")]
    schema: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 5 })
    }

    fn vertex(name: &str, started: Option<Timestamp>, completed: Option<Timestamp>) -> Vertex {
        let (digest, name) = (Digest::sha256(name).to_string(), name.to_owned());
        Vertex { digest, name, started, completed, ..Vertex::default() }
    }

    #[test]
    fn a_build_is_a_span_with_one_below_for_each_step_that_began() {
        let record = BuildHistoryRecord {
            r#ref: "a".into(),
            created_at: at(1),
            completed_at: at(9),
            ..BuildHistoryRecord::default()
        };
        let mut failed = vertex("RUN \"x\"", at(2), at(4));
        failed.error = "exit code: 1".into();
        let log = [
            vec![vertex("RUN \"x\"", at(2), None), vertex("never", None, None)],
            vec![failed, vertex("cut off", at(3), None)],
        ];
        let log = log.map(|vertexes| StatusResponse { vertexes, ..StatusResponse::default() });
        let lines = lines(&record, &log);
        let spans: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[0]["StartTime"], "1970-01-01T00:00:01.000000005Z");
        assert_eq!(spans[0]["ChildSpanCount"], 2);
        for span in &spans[1..] {
            assert_eq!(span["Parent"], spans[0]["SpanContext"]);
            assert_eq!(span["SpanContext"]["TraceID"], spans[0]["SpanContext"]["TraceID"]);
        }
        let named = |name: &str| spans.iter().find(|span| span["Name"] == name).unwrap();
        assert_eq!(named("RUN \"x\"")["Status"]["Description"], "exit code: 1");
        assert_eq!(named("cut off")["EndTime"], spans[0]["EndTime"]);
        assert_eq!(named("cut off")["Status"]["Code"], "Unset");
    }
}
