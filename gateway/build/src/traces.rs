//! Spans that clients send: for the traces of builds, and for a collector elsewhere.
//!
//! Spans of OpenTelemetry come in on the daemon's own socket, where BuildKit's clients send theirs. Those
//! of a trace that a build is part of end up in the history of the build, a moment after it has ended or
//! when a client asks for it; all go on to the collector that the environment names, with those of the
//! daemon itself. What is held is bounded: a client that sends more loses spans, and nothing else.

mod collector;
mod forward;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_history::{History, SentSpan, TraceParent};
use kiln_wire::proto::trace_service as wire;
use prost::Message as _;
use tokio::sync::{Notify, watch};
use tonic::metadata::MetadataMap;

pub use collector::{Collector, CollectorError};
use forward::Forward;

/// How long after a build its client may send spans.
const LATE: Duration = Duration::from_secs(3);
/// How long somebody waits who wants the trace of a build to be complete.
const FINALIZE: Duration = Duration::from_secs(10);
/// How long spans are kept of which no build is known yet.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How many traces are kept of which no build is known, and how many spans of each trace.
const MAX_UNKNOWN: usize = 64;
const MAX_SPANS: usize = 20_000;
/// How much is kept of a trace, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// The spans of a daemon; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    forward: Option<Forward>,
    /// Changes when the trace of a build is complete.
    completed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    traces: BTreeMap<[u8; 16], Trace>,
    /// Builds that have ended and whose client may still send spans.
    late: BTreeMap<String, Arc<Notify>>,
}

#[derive(Debug)]
struct Trace {
    spans: Vec<SentSpan>,
    bytes: usize,
    /// How many builds are part of it.
    builds: usize,
    last: Instant,
}

impl Default for Trace {
    fn default() -> Self {
        Self { spans: Vec::new(), bytes: 0, builds: 0, last: Instant::now() }
    }
}

impl Traces {
    /// Spans of clients; all go on to the collector, if there is one. Must be called on a runtime.
    pub fn new(collector: Option<Collector>) -> Self {
        let forward = collector.map(Forward::start);
        Self(Arc::new(Shared { forward, ..Shared::default() }))
    }

    /// A build begins that is part of the trace that its request names, if it names one.
    pub fn begin(&self, metadata: &MetadataMap) -> Option<BuildTrace> {
        let parent: TraceParent = metadata.get("traceparent")?.to_str().ok()?.parse().ok()?;
        self.table().traces.entry(parent.trace).or_default().builds += 1;
        Some(BuildTrace { traces: self.clone(), parent })
    }

    /// Passes spans of the daemon on.
    pub(crate) fn send(&self, spans: impl FnOnce() -> Vec<kiln_pb::trace::Span>) {
        if let Some(forward) = &self.0.forward {
            forward.send_own(spans());
        }
    }

    /// Waits until the trace of a build is complete, without waiting for what may still come.
    pub async fn finalize(&self, build: &str) {
        let late = self.table().late.get(build).cloned();
        let Some(late) = late else { return };
        let mut completed = self.0.completed.subscribe();
        late.notify_one();
        let gone = completed.wait_for(|_| !self.table().late.contains_key(build));
        // What is not complete by then is complete later.
        tokio::time::timeout(FINALIZE, gone).await.ok();
    }

    /// Waits until the collector has what it is to have, or cannot be reached.
    pub async fn flush(&self) {
        if let Some(forward) = &self.0.forward {
            forward.flush().await;
        }
    }

    /// Takes in what clients send.
    pub fn receive(&self, request: wire::ExportTraceServiceRequest) {
        let mut table = self.table();
        for resource_spans in &request.resource_spans {
            let resource = resource_spans.resource.as_ref();
            let resource: Arc<[_]> =
                resource.map(|resource| resource.attributes.clone()).unwrap_or_default().into();
            for scope_spans in &resource_spans.scope_spans {
                let scope = Arc::new(scope_spans.scope.clone().unwrap_or_default());
                for span in &scope_spans.spans {
                    table.add(SentSpan {
                        span: span.clone(),
                        resource: Arc::clone(&resource),
                        scope: Arc::clone(&scope),
                    });
                }
            }
        }
        drop(table);
        if let Some(forward) = &self.0.forward {
            forward.send(request.resource_spans);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, sent: SentSpan) {
        let Ok(trace) = <[u8; 16]>::try_from(&sent.span.trace_id[..]) else { return };
        if !self.traces.contains_key(&trace) {
            self.traces.retain(|_, trace| trace.builds > 0 || trace.last.elapsed() < UNKNOWN);
            let unknown = self.traces.values().filter(|trace| trace.builds == 0).count();
            if unknown >= MAX_UNKNOWN {
                return;
            }
        }
        let trace = self.traces.entry(trace).or_default();
        let bytes = sent.span.encoded_len();
        if trace.spans.len() < MAX_SPANS && trace.bytes + bytes <= MAX_BYTES {
            trace.bytes += bytes;
            trace.spans.push(sent);
        }
    }
}

/// A build that is part of a trace, until it is dropped.
#[derive(Debug)]
pub struct BuildTrace {
    traces: Traces,
    pub(crate) parent: TraceParent,
}

impl BuildTrace {
    /// The build has ended: what its client has sent, and sends within the next moments, is added to
    /// what is remembered of it.
    pub(crate) fn ended(self, history: History, build: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let late = Arc::new(Notify::new());
        self.traces.table().late.insert(build.clone(), Arc::clone(&late));
        runtime.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(LATE) => {}
                () = late.notified() => {}
            }
            let spans = self.spans();
            if !spans.is_empty()
                && let Err(error) = history.add_spans(&build, spans).await
            {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, build, "the spans of a client are not remembered");
            }
            let mut table = self.traces.table();
            if table.late.get(&build).is_some_and(|own| Arc::ptr_eq(own, &late)) {
                table.late.remove(&build);
            }
            drop(table);
            self.traces.0.completed.send_modify(|count| *count += 1);
        });
    }

    fn spans(&self) -> Vec<SentSpan> {
        let table = self.traces.table();
        table.traces.get(&self.parent.trace).map(|trace| trace.spans.clone()).unwrap_or_default()
    }
}

impl Drop for BuildTrace {
    fn drop(&mut self) {
        let mut table = self.traces.table();
        if let Some(trace) = table.traces.get_mut(&self.parent.trace) {
            trace.builds -= 1;
            if trace.builds == 0 {
                table.traces.remove(&self.parent.trace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_pb::trace::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn sent(trace: u8, count: usize) -> wire::ExportTraceServiceRequest {
        let span = Span { trace_id: vec![trace; 16].into(), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span; count], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        wire::ExportTraceServiceRequest { resource_spans }
    }

    fn metadata(trace: u8) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        let value = format!("00-{}-00000000000000cd-01", format!("{trace:02x}").repeat(16));
        metadata.insert("traceparent", value.parse().unwrap());
        metadata
    }

    #[test]
    fn spans_are_kept_for_the_build_of_their_trace_and_go_with_it() {
        let traces = Traces::default();
        assert!(traces.begin(&MetadataMap::new()).is_none());
        // A client may send a span before its build begins.
        traces.receive(sent(7, 1));
        let build = traces.begin(&metadata(7)).unwrap();
        traces.receive(sent(7, 2));
        traces.receive(sent(8, 1));
        assert_eq!(build.spans().len(), 3);
        drop(build);
        assert_eq!(traces.table().traces.len(), 1, "that of which no build is known");
    }

    #[test]
    fn what_a_client_sends_is_bounded() {
        let traces = Traces::default();
        for trace in 0..=255 {
            traces.receive(sent(trace, 1));
        }
        assert_eq!(traces.table().traces.len(), MAX_UNKNOWN);
        let build = traces.begin(&metadata(255)).unwrap();
        for _ in 0..3 {
            traces.receive(sent(255, MAX_SPANS / 2));
        }
        assert_eq!(build.spans().len(), MAX_SPANS);
        let mut nonsense = sent(1, 1);
        nonsense.resource_spans[0].scope_spans[0].spans[0].trace_id = "short".into();
        traces.receive(nonsense);
    }
}
