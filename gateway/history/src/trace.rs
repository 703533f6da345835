//! The steps of a build as spans, and spans as JSON documents as OpenTelemetry's Go library writes them.
//!
//! A record and its progress come in, spans go out: one for the build, and below it one for each step
//! that began. Ids are made of the id of the build, so that they are the same every time; a client that
//! traces says whose spans these are below ([`TraceParent`]). Spans become lines of JSON together with
//! those that clients sent of the same trace.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_pb::control::{BuildHistoryRecord, StatusResponse, Vertex};
use kiln_pb::trace::span::SpanKind;
use kiln_pb::trace::status::StatusCode;
use kiln_pb::trace::{Span, Status};
use kiln_pb::trace_values::any_value::Value as Any;
use kiln_pb::trace_values::{InstrumentationScope, KeyValue};
use prost_types::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The media type of the spans of a build.
pub(crate) const TRACE_MEDIA_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";

/// The trace that a build is part of, and the span it is below, as the header `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
}

/// A header `traceparent` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct TraceParentError;

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// Reads `00-<trace>-<span>-<flags>`; later versions may have more behind it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().split('-');
        let version = parts.next().filter(|version| version.len() == 2 && *version != "ff");
        let trace = parts.next().and_then(bytes::<16>);
        let span = parts.next().and_then(bytes::<8>);
        let flags = parts.next().filter(|flags| flags.len() == 2);
        match (version, trace, span, flags) {
            (Some(_), Some(trace), Some(span), Some(_)) if trace != [0; 16] && span != [0; 8] => {
                Ok(Self { trace, span })
            }
            _ => Err(TraceParentError),
        }
    }
}

fn bytes<const LENGTH: usize>(hex: &str) -> Option<[u8; LENGTH]> {
    if hex.len() != 2 * LENGTH || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A span with what its sender says of itself.
#[derive(Clone, Debug, Default)]
pub struct SentSpan {
    /// The span.
    pub span: Span,
    /// The program that sent it.
    pub resource: Arc<[KeyValue]>,
    /// The library that made it.
    pub scope: Arc<InstrumentationScope>,
}

/// The spans of a build that has ended.
pub fn spans<'a>(
    record: &BuildHistoryRecord,
    log: impl IntoIterator<Item = &'a StatusResponse>,
    parent: Option<TraceParent>,
) -> Vec<Span> {
    let trace = match parent {
        Some(parent) => parent.trace.to_vec(),
        None => id(&[&record.r#ref, "trace"], 16),
    };
    let root = id(&[&record.r#ref, "build"], 8);
    let build = Span {
        trace_id: trace.clone().into(),
        span_id: root.clone().into(),
        parent_span_id: parent.map(|parent| parent.span.to_vec()).unwrap_or_default().into(),
        name: "moby.buildkit.v1.Control/Solve".to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(record.created_at),
        end_time_unix_nano: nanos(record.completed_at),
        attributes: vec![attribute("ref", &record.r#ref), attribute("frontend", &record.frontend)],
        status: status(record.error.as_ref().map(|error| error.message.as_str())),
        ..Span::default()
    };
    let steps = steps(log);
    let below = steps.values().map(|vertex| Span {
        trace_id: trace.clone().into(),
        span_id: id(&[&record.r#ref, "step", &vertex.digest], 8).into(),
        parent_span_id: root.clone().into(),
        name: vertex.name.clone(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(vertex.started),
        end_time_unix_nano: nanos(vertex.completed.or(record.completed_at)),
        attributes: vec![attribute("vertex", &vertex.digest)],
        status: status(Some(vertex.error.as_str()).filter(|error| !error.is_empty())),
        ..Span::default()
    });
    std::iter::once(build).chain(below).collect()
}

/// The last that is known of each step that began.
fn steps<'a>(log: impl IntoIterator<Item = &'a StatusResponse>) -> BTreeMap<&'a str, &'a Vertex> {
    let vertices = log.into_iter().flat_map(|message| &message.vertexes);
    let began = vertices.filter(|vertex| vertex.started.is_some());
    began.map(|vertex| (vertex.digest.as_str(), vertex)).collect()
}

/// An id of so many bytes.
fn id(parts: &[&str], length: usize) -> Vec<u8> {
    let digest = Digest::sha256(parts.join("\n"));
    let hex = digest.hex();
    (0..length).filter_map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()).collect()
}

fn nanos(time: Option<Timestamp>) -> u64 {
    let time = time.unwrap_or_default();
    let seconds = u64::try_from(time.seconds).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.nanos).unwrap_or_default()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = kiln_pb::trace_values::AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

fn status(error: Option<&str>) -> Option<Status> {
    let error = error?;
    Some(Status { message: error.to_owned(), code: StatusCode::Error.into() })
}

/// What makes the spans of this daemon.
pub fn daemon_resource() -> Vec<KeyValue> {
    vec![attribute("service.name", "kilnd")]
}

/// Spans as lines of JSON; those that are there twice, once.
pub(crate) fn lines<'a>(spans: impl IntoIterator<Item = &'a SentSpan>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut wanted: Vec<&SentSpan> = spans.into_iter().collect();
    wanted.retain(|sent| seen.insert((&sent.span.trace_id, &sent.span.span_id)));
    let mut children: BTreeMap<&[u8], usize> = BTreeMap::new();
    for sent in &wanted {
        *children.entry(&sent.span.parent_span_id).or_default() += 1;
    }
    let line = |sent: &&SentSpan| {
        let children = children.get(&sent.span.span_id[..]).copied().unwrap_or_default();
        // Spans are texts and numbers, for which there is always JSON.
        serde_json::to_string(&Stub::of(sent, children)).unwrap_or_default() + "\n"
    };
    wanted.iter().map(line).collect()
}

/// The spans of this daemon as it would send them.
pub(crate) fn own(spans: Vec<Span>) -> Vec<SentSpan> {
    let resource: Arc<[KeyValue]> = daemon_resource().into();
    let scope = Arc::new(InstrumentationScope::default());
    let sent = |span| SentSpan { span, resource: Arc::clone(&resource), scope: Arc::clone(&scope) };
    spans.into_iter().map(sent).collect()
}

/// A span, field by field as Go's library writes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stub<'a> {
    name: &'a str,
    span_context: Context,
    parent: Context,
    span_kind: i32,
    start_time: String,
    end_time: String,
    attributes: Vec<Value>,
    events: Option<Vec<Value>>,
    links: Option<Vec<Value>>,
    status: Value,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
    child_span_count: usize,
    resource: Vec<Value>,
    instrumentation_library: Value,
}

#[derive(Serialize)]
struct Context {
    #[serde(rename = "TraceID")]
    trace: String,
    #[serde(rename = "SpanID")]
    span: String,
    #[serde(rename = "TraceFlags")]
    flags: &'static str,
    #[serde(rename = "TraceState")]
    state: String,
    #[serde(rename = "Remote")]
    remote: bool,
}

impl<'a> Stub<'a> {
    fn of(sent: &'a SentSpan, children: usize) -> Self {
        let span = &sent.span;
        let trace = hex(&span.trace_id, 32);
        let parent = hex(&span.parent_span_id, 16);
        let is_root = parent.bytes().all(|digit| digit == b'0');
        let events = span.events.iter().map(|event| {
            json!({
                "Name": event.name,
                "Attributes": attributes(&event.attributes),
                "DroppedAttributeCount": event.dropped_attributes_count,
                "Time": time(event.time_unix_nano),
            })
        });
        let links = span.links.iter().map(|link| {
            let span = hex(&link.span_id, 16);
            json!({
                "SpanContext": Context::new(hex(&link.trace_id, 32), span, &link.trace_state),
                "Attributes": attributes(&link.attributes),
                "DroppedAttributeCount": link.dropped_attributes_count,
            })
        });
        let some = |list: Vec<Value>| (!list.is_empty()).then_some(list);
        Self {
            name: &span.name,
            span_context: Context::new(trace.clone(), hex(&span.span_id, 16), &span.trace_state),
            parent: match is_root {
                true => Context::new("0".repeat(32), parent, ""),
                false => Context::new(trace, parent, ""),
            },
            span_kind: span.kind,
            start_time: time(span.start_time_unix_nano),
            end_time: time(span.end_time_unix_nano),
            attributes: attributes(&span.attributes),
            events: some(events.collect()),
            links: some(links.collect()),
            status: code(span.status.as_ref()),
            dropped_attributes: span.dropped_attributes_count,
            dropped_events: span.dropped_events_count,
            dropped_links: span.dropped_links_count,
            child_span_count: children,
            resource: attributes(&sent.resource),
            instrumentation_library: json!({
                "Name": sent.scope.name,
                "Version": sent.scope.version,
                "SchemaURL": "",
            }),
        }
    }
}

impl Context {
    fn new(trace: String, span: String, state: &str) -> Self {
        Self { trace, span, flags: "01", state: state.to_owned(), remote: false }
    }
}

/// Bytes as so many hexadecimal digits.
fn hex(bytes: &[u8], digits: usize) -> String {
    let text: String = bytes.iter().take(digits / 2).map(|byte| format!("{byte:02x}")).collect();
    format!("{text:0<digits$}")
}

fn time(nanos: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn code(status: Option<&Status>) -> Value {
    let code = status.map_or(StatusCode::Unset, Status::code);
    let description = status.map(|status| status.message.as_str()).unwrap_or_default();
    let word = match code {
        StatusCode::Unset => "Unset",
        StatusCode::Ok => "Ok",
        StatusCode::Error => "Error",
    };
    json!({ "Code": word, "Description": description })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Value> {
    let attributes = attributes.iter().filter_map(|attribute| {
        let (kind, value) = typed(attribute.value.as_ref()?.value.as_ref()?);
        Some(json!({ "Key": attribute.key, "Value": { "Type": kind, "Value": value } }))
    });
    attributes.collect()
}

/// A value with the word for its type. Lists are of one type; what Go has no type for is text.
fn typed(value: &Any) -> (&'static str, Value) {
    match value {
        Any::StringValue(text) => ("STRING", json!(text)),
        Any::BoolValue(is) => ("BOOL", json!(is)),
        Any::IntValue(number) => ("INT64", json!(number)),
        Any::DoubleValue(number) => ("FLOAT64", json!(number)),
        Any::ArrayValue(list) => {
            let values = list.values.iter().filter_map(|value| value.value.as_ref()).map(typed);
            let (kinds, values): (Vec<_>, Vec<_>) = values.unzip();
            let kind = match kinds.first() {
                Some(&"BOOL") => "BOOLSLICE",
                Some(&"INT64") => "INT64SLICE",
                Some(&"FLOAT64") => "FLOAT64SLICE",
                _ => "STRINGSLICE",
            };
            (kind, Value::Array(values))
        }
        Any::KvlistValue(list) => ("STRING", json!(format!("{} values", list.values.len()))),
        Any::BytesValue(bytes) => ("STRING", json!(format!("{} bytes", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 5 })
    }

    fn vertex(name: &str, started: Option<Timestamp>, completed: Option<Timestamp>) -> Vertex {
        let (digest, name) = (Digest::sha256(name).to_string(), name.to_owned());
        Vertex { digest, name, started, completed, ..Vertex::default() }
    }

    fn read(spans: &[SentSpan]) -> Vec<Value> {
        lines(spans).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
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
        let spans = read(&own(spans(&record, &log, None)));
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[0]["StartTime"], "1970-01-01T00:00:01.000000005Z");
        assert_eq!(spans[0]["ChildSpanCount"], 2);
        assert_eq!(spans[0]["Parent"]["TraceID"], "0".repeat(32));
        assert_eq!(spans[0]["Resource"][0]["Value"]["Value"], "kilnd");
        for span in &spans[1..] {
            assert_eq!(span["Parent"], spans[0]["SpanContext"]);
            assert_eq!(span["SpanContext"]["TraceID"], spans[0]["SpanContext"]["TraceID"]);
        }
        let named = |name: &str| spans.iter().find(|span| span["Name"] == name).unwrap();
        assert_eq!(named("RUN \"x\"")["Status"]["Description"], "exit code: 1");
        assert_eq!(named("cut off")["EndTime"], spans[0]["EndTime"]);
        assert_eq!(named("cut off")["Status"]["Code"], "Unset");
    }

    #[test]
    fn a_client_that_traces_has_the_build_below_its_own_span() {
        let text = format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8));
        let parent: TraceParent = text.parse().unwrap();
        let client = SentSpan {
            span: Span {
                trace_id: parent.trace.to_vec().into(),
                span_id: parent.span.to_vec().into(),
                name: "build".into(),
                ..Span::default()
            },
            ..SentSpan::default()
        };
        let own = own(spans(&BuildHistoryRecord::default(), &[], Some(parent)));
        let spans = read(&[&own[..], &[client.clone(), client]].concat());
        assert_eq!(spans.len(), 2, "what came twice is there once");
        assert_eq!(spans[0]["Parent"], spans[1]["SpanContext"]);
        assert_eq!(spans[1]["ChildSpanCount"], 1);
        for none in ["", "00-00-00-00", "ff-ab-cd-01", &text.replace("ab", "00"), "00-é"] {
            assert!(none.parse::<TraceParent>().is_err(), "{none}");
        }
    }

    #[test]
    fn attributes_have_the_types_of_go() {
        let any = |value| kiln_pb::trace_values::AnyValue { value: Some(value) };
        let list = kiln_pb::trace_values::ArrayValue {
            values: vec![any(Any::IntValue(1)), any(Any::IntValue(2))],
        };
        assert_eq!(typed(&Any::ArrayValue(list)), ("INT64SLICE", json!([1, 2])));
        assert_eq!(typed(&Any::BoolValue(true)), ("BOOL", json!(true)));
        assert_eq!(typed(&Any::DoubleValue(0.5)), ("FLOAT64", json!(0.5)));
    }
}
