//! Sends spans to a collector, in the background: a build waits for none of it.

use std::time::Duration;

use kiln_pb::trace::{ResourceSpans, ScopeSpans, Span};
use kiln_pb::trace_resource::Resource;
use kiln_wire::proto::trace_service::ExportTraceServiceRequest;
use kiln_wire::proto::trace_service::trace_service_client::TraceServiceClient;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::collector::{Collector, Protocol};

/// How many batches wait for the collector; those beyond are lost.
const WAITING: usize = 256;
/// How long is waited at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// The sending end.
#[derive(Debug)]
pub(super) struct Forward {
    sender: mpsc::Sender<Message>,
    service: String,
}

#[derive(Debug)]
enum Message {
    Spans(Vec<ResourceSpans>),
    Flush(oneshot::Sender<()>),
}

impl Forward {
    /// Starts to send, on the current runtime.
    pub(super) fn start(collector: Collector) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let service = collector.service.clone();
        tokio::spawn(run(collector, receiver));
        Self { sender, service }
    }

    /// Passes spans on.
    pub(super) fn send(&self, spans: Vec<ResourceSpans>) {
        if self.sender.try_send(Message::Spans(spans)).is_err() {
            tracing::debug!("spans are lost: the collector is too slow");
        }
    }

    /// Passes spans of the daemon on.
    pub(super) fn send_own(&self, spans: Vec<Span>) {
        let mut resource =
            Resource { attributes: kiln_history::daemon_resource(), ..Resource::default() };
        for attribute in &mut resource.attributes {
            if let Some(value) = &mut attribute.value {
                let name = self.service.clone();
                value.value = Some(kiln_pb::trace_values::any_value::Value::StringValue(name));
            }
        }
        self.send(vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }]);
    }

    /// Waits until everything is sent, not for long.
    pub(super) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        let flushed = async {
            if self.sender.send(Message::Flush(sender)).await.is_ok() {
                done.await.ok();
            }
        };
        tokio::time::timeout(FLUSH, flushed).await.ok();
    }
}

async fn run(collector: Collector, mut receiver: mpsc::Receiver<Message>) {
    let mut client = Client::new(&collector);
    let mut reached = true;
    while let Some(message) = receiver.recv().await {
        let resource_spans = match message {
            Message::Spans(spans) => spans,
            Message::Flush(done) => {
                // Who asked may have stopped waiting.
                done.send(()).ok();
                continue;
            }
        };
        let request = ExportTraceServiceRequest { resource_spans };
        let sent = tokio::time::timeout(collector.timeout, client.send(&collector, request)).await;
        let sent = sent.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
        match sent {
            Ok(()) => reached = true,
            // Once, not for every build.
            Err(error) if std::mem::replace(&mut reached, false) => {
                let endpoint = &collector.endpoint;
                tracing::warn!(endpoint, error, "spans do not reach the collector");
            }
            Err(_) => {}
        }
    }
}

/// A connection to a collector.
enum Client {
    Grpc(Box<TraceServiceClient<Channel>>),
    Http(reqwest::Client),
    /// The address is none.
    None(String),
}

impl Client {
    fn new(collector: &Collector) -> Self {
        match collector.protocol {
            Protocol::Grpc => match Endpoint::from_shared(collector.endpoint.clone()) {
                Ok(endpoint) => {
                    Self::Grpc(Box::new(TraceServiceClient::new(endpoint.connect_lazy())))
                }
                Err(error) => Self::None(error.to_string()),
            },
            Protocol::Http => match reqwest::Client::builder().build() {
                Ok(client) => Self::Http(client),
                Err(error) => Self::None(error.to_string()),
            },
        }
    }

    async fn send(
        &mut self,
        collector: &Collector,
        message: ExportTraceServiceRequest,
    ) -> Result<(), String> {
        match self {
            Self::Grpc(client) => {
                let mut request = tonic::Request::new(message);
                for (name, value) in &collector.headers {
                    let name: Result<MetadataKey<Ascii>, _> = name.parse();
                    let value: Result<MetadataValue<Ascii>, _> = value.parse();
                    if let (Ok(name), Ok(value)) = (name, value) {
                        request.metadata_mut().insert(name, value);
                    }
                }
                client.export(request).await.map(drop).map_err(|status| status.to_string())
            }
            Self::Http(client) => {
                let mut request = client
                    .post(&collector.endpoint)
                    .header("content-type", "application/x-protobuf")
                    .body(message.encode_to_vec());
                for (name, value) in &collector.headers {
                    request = request.header(name, value);
                }
                let response = request.send().await.map_err(|error| error.to_string())?;
                response.error_for_status().map(drop).map_err(|error| error.to_string())
            }
            Self::None(error) => Err(error.clone()),
        }
    }
}
