//! What is served, and what is said about it.

use kiln_build::Builder;
use kiln_wire::proto::content::content_server::ContentServer;
use kiln_wire::proto::control::control_server::ControlServer;
use kiln_wire::proto::explain::explain_server::ExplainServer;
use kiln_wire::proto::trace_service::trace_service_server::TraceServiceServer;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::content::Content;
use crate::control::Control;
use crate::explain::Explain;
use crate::spans::Spans;
use crate::{Pruner, reflection};

/// The services that are served beside health and reflection.
const SERVICES: &[&str] = &[
    "moby.buildkit.v1.Control",
    "moby.buildkit.v1.frontend.LLBBridge",
    "kiln.explain.v1.Explain",
    "containerd.services.content.v1.Content",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];

/// The services of a daemon. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    builder: Builder,
    pruner: Pruner,
    health: HealthReporter,
}

impl Services {
    /// Services for these builds.
    pub fn new(builder: Builder, pruner: Pruner) -> Self {
        Self { builder, pruner, health: HealthReporter::new() }
    }

    /// What builds need: everything but reflection.
    pub async fn api(&self) -> Router {
        if self.builder.gate().is_open() {
            self.set_health(ServingStatus::Serving).await;
        }
        let health = HealthService::from_health_reporter(self.health.clone());
        let (builder, history) = (&self.builder, self.builder.history());
        let control = Control { builder: builder.clone(), pruner: self.pruner.clone() };
        let control = ControlServer::new(control)
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        let traces = TraceServiceServer::new(Spans(builder.traces().clone()))
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        kiln_wire::channel::server()
            .add_service(control)
            .add_service(ExplainServer::new(Explain(history.clone())))
            .add_service(ContentServer::new(Content(history.clone())))
            .add_service(traces)
            .add_service(kiln_bridge::service::service(builder.builds().clone()))
            .add_service(HealthServer::new(health))
    }

    /// All services, to be served on listeners.
    pub async fn all(&self) -> Router {
        reflection::add_to(self.api().await, SERVICES)
    }

    /// Says on the health service that no builds are taken any more.
    pub async fn stop_serving(&self) {
        self.set_health(ServingStatus::NotServing).await;
    }

    async fn set_health(&self, status: ServingStatus) {
        for service in SERVICES {
            self.health.set_service_status(*service, status).await;
        }
    }
}
