//! What clients read of builds that have run: records, logs, errors, over the socket of a daemon.

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kiln_client::{Client, Session, SolveOptions, new_id};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref};
use kiln_pb::trace::{ResourceSpans, ScopeSpans, Span};
use kiln_wire::pb::Definition;
use kiln_wire::proto::content::content_client::ContentClient;
use kiln_wire::proto::content::{InfoRequest, ListContentRequest, ReadContentRequest};
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{
    BuildHistoryEvent, BuildHistoryRecord, BuildHistoryRequest, SolveRequest, StatusRequest,
    UpdateBuildHistoryRequest,
};
use kiln_wire::proto::trace_service::trace_service_client::TraceServiceClient;
use kiln_wire::proto::trace_service::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::Code;

use crate::kilnd::Kilnd;

/// Says no, or has nothing to build.
struct Scripted {
    fails: bool,
}

#[async_trait]
impl Frontend for Scripted {
    async fn solve(&self, _: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        match self.fails {
            true => Err(FrontendError::invalid("line 3 makes no sense")),
            false => Ok(BuildResult::single(None)),
        }
    }
}

/// A build with an id of its own; whether it succeeded is as the frontend has it.
async fn build(client: &Client, fails: bool) -> String {
    build_with(client, fails, SolveOptions::default()).await
}

async fn build_with(client: &Client, fails: bool, options: SolveOptions) -> String {
    let id = new_id();
    let options = options.with_id(id.clone());
    let (progress, _) = kiln_progress::channel();
    let built = client.build(options, Session::default(), &Scripted { fails }, progress).await;
    assert_eq!(built.is_err(), fails);
    id
}

async fn asked(client: &Client, request: BuildHistoryRequest) -> Vec<BuildHistoryEvent> {
    let request = BuildHistoryRequest { early_exit: true, ..request };
    let events = ControlClient::new(client.channel()).listen_build_history(request).await.unwrap();
    events.into_inner().try_collect().await.unwrap()
}

async fn record(client: &Client, id: &str) -> BuildHistoryRecord {
    let request = BuildHistoryRequest { r#ref: id.to_owned(), ..BuildHistoryRequest::default() };
    let mut events = asked(client, request).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0).record.unwrap()
}

async fn update(client: &Client, request: UpdateBuildHistoryRequest) -> Result<(), tonic::Status> {
    ControlClient::new(client.channel()).update_build_history(request).await.map(drop)
}

async fn blob(client: &Client, digest: &str) -> Vec<u8> {
    let request = ReadContentRequest { digest: digest.to_owned(), ..ReadContentRequest::default() };
    let chunks = ContentClient::new(client.channel()).read(request).await.unwrap().into_inner();
    chunks.map_ok(|chunk| chunk.data).try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn a_build_that_failed_is_remembered_with_its_error_even_by_a_daemon_that_was_killed() {
    let mut daemon = Kilnd::start();
    let client = daemon.client().await;
    let (good, bad) = (build(&client, false).await, build(&client, true).await);
    let seen = record(&client, &bad).await;
    daemon.restart();
    let client = daemon.client().await;
    assert_eq!(record(&client, &bad).await, seen);
    assert!(seen.created_at.is_some() && seen.completed_at.is_some());
    assert!(seen.error.unwrap().message.contains("line 3 makes no sense"));
    let error = seen.external_error.unwrap();
    let content = blob(&client, &error.digest).await;
    assert_eq!(i64::try_from(content.len()).unwrap(), error.size);
    assert_eq!(record(&client, &good).await.error, None);
    // The newest first; filters are over all of them.
    let all = asked(&client, BuildHistoryRequest::default()).await;
    let ids: Vec<_> = all.into_iter().map(|event| event.record.unwrap().r#ref).collect();
    assert_eq!(ids, [bad.clone(), good.clone()]);
    let filter = vec!["status==error".to_owned()];
    let found = asked(&client, BuildHistoryRequest { filter, ..Default::default() }).await;
    assert_eq!(found.len(), 1);
    // The progress of a build is that of its log.
    let status = StatusRequest { r#ref: good };
    let messages = ControlClient::new(client.channel()).status(status).await.unwrap();
    assert!(messages.metadata().get("buildkit-current-timestamp").is_some());
    messages.into_inner().try_collect::<Vec<_>>().await.unwrap();
}

#[tokio::test]
async fn what_is_deleted_is_gone_with_its_blobs() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    let id = build(&client, true).await;
    let request = UpdateBuildHistoryRequest { r#ref: id, ..Default::default() };
    update(&client, UpdateBuildHistoryRequest { pinned: true, ..request.clone() }).await.unwrap();
    assert!(record(&client, &request.r#ref).await.pinned);
    let digest = record(&client, &request.r#ref).await.external_error.unwrap().digest;
    let mut content = ContentClient::new(client.channel());
    content.info(InfoRequest { digest: digest.clone() }).await.unwrap();
    update(&client, UpdateBuildHistoryRequest { finalize: true, ..request.clone() }).await.unwrap();
    let delete = UpdateBuildHistoryRequest { delete: true, ..request };
    update(&client, delete.clone()).await.unwrap();
    assert_eq!(update(&client, delete).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(asked(&client, BuildHistoryRequest::default()).await, []);
    let missing = content.info(InfoRequest { digest }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let left = content.list(ListContentRequest::default()).await.unwrap().into_inner();
    assert_eq!(left.try_collect::<Vec<_>>().await.unwrap(), []);
}

#[tokio::test]
async fn a_build_of_a_tools_own_is_not_remembered() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    build_with(&client, false, SolveOptions::default().with_internal(true)).await;
    assert_eq!(asked(&client, BuildHistoryRequest::default()).await, []);
}

#[tokio::test]
async fn what_is_outside_of_the_history_cannot_be_read_as_content() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    let mut content = ContentClient::new(client.channel());
    for digest in ["", "../workerid", "sha256:../../workerid", "sha512:00"] {
        let error = content.info(InfoRequest { digest: digest.into() }).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{digest}: {error}");
    }
}

/// A span of a client, in the trace that is all `ab`.
fn span(id: u8, name: &str) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![0xab; 16].into(),
        span_id: vec![id; 8].into(),
        name: name.into(),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// A build with nothing to do, by a client that traces, as the span all `cd`.
async fn traced(client: &Client, id: &str) {
    let mut request = tonic::Request::new(SolveRequest {
        r#ref: id.into(),
        definition: Some(Definition::default()),
        ..SolveRequest::default()
    });
    let parent = format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8));
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    ControlClient::new(client.channel()).solve(request).await.unwrap();
}

#[tokio::test]
async fn what_a_client_traces_is_part_of_the_trace_of_its_build() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    let mut spans = TraceServiceClient::new(client.channel());
    spans.export(span(0xcc, "before")).await.unwrap();
    traced(&client, "traced").await;
    // As clients do, once they have their answer.
    spans.export(span(0xcd, "client")).await.unwrap();
    let finalize =
        UpdateBuildHistoryRequest { r#ref: "traced".into(), finalize: true, ..Default::default() };
    update(&client, finalize).await.unwrap();
    let trace = record(&client, "traced").await.trace.unwrap();
    let text = String::from_utf8(blob(&client, &trace.digest).await).unwrap();
    let spans: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = spans.iter().map(|span| span["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["moby.buildkit.v1.Control/Solve", "before", "client"]);
    assert_eq!(spans[0]["Parent"]["SpanID"], "cd".repeat(8));
    assert!(spans.iter().all(|span| span["SpanContext"]["TraceID"] == "ab".repeat(16)));
}

/// What a collector was sent: names of spans.
async fn collected(protocol: &str, at_end: impl AsyncFnOnce(tokio::net::TcpListener) -> Vec<u8>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let daemon = Kilnd::with_env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret"),
    ]);
    let client = daemon.client().await;
    let collector = tokio::spawn(async move {
        TraceServiceClient::new(client.channel()).export(span(1, "client")).await.unwrap();
        traced(&client, "sent").await;
    });
    let received = at_end(listener).await;
    collector.await.unwrap();
    let received = String::from_utf8_lossy(&received).into_owned();
    assert!(received.contains("client"), "{received}");
}

#[tokio::test]
async fn spans_go_on_to_the_collector_that_the_environment_names() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    collected("http/protobuf", async |listener| {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&received).contains("client") {
            let length = stream.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "{received:?}");
            received.extend_from_slice(&buffer[..length]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let text = String::from_utf8_lossy(&received).to_lowercase();
        assert!(text.starts_with("post /v1/traces ") && text.contains("x-key: secret"), "{text}");
        received
    })
    .await;
}

/// A collector that speaks gRPC, and says the names of what it gets.
struct Collector(tokio::sync::mpsc::UnboundedSender<String>);

#[async_trait]
impl kiln_wire::proto::trace_service::trace_service_server::TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        assert_eq!(request.metadata().get("x-key").unwrap(), "secret");
        let sent = request.into_inner().resource_spans.into_iter();
        for span in sent.flat_map(|sent| sent.scope_spans).flat_map(|sent| sent.spans) {
            self.0.send(span.name).unwrap();
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_collector_may_speak_grpc_and_gets_the_spans_of_the_daemon_too() {
    collected("grpc", async |listener| {
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        let service =
            kiln_wire::proto::trace_service::trace_service_server::TraceServiceServer::new(
                Collector(sender),
            );
        let served = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        let server = tokio::spawn(served);
        let names = [received.recv().await.unwrap(), received.recv().await.unwrap()];
        assert_eq!(names, ["client", "moby.buildkit.v1.Control/Solve"]);
        server.abort();
        names.concat().into_bytes()
    })
    .await;
}
