//! The service that clients send spans to, for the traces of builds.

use async_trait::async_trait;
use kiln_build::Traces;
use kiln_wire::proto::trace_service as wire;
use kiln_wire::proto::trace_service::trace_service_server::TraceService;
use tonic::{Request, Response, Status};

/// The service.
pub(crate) struct Spans(pub(crate) Traces);

#[async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<wire::ExportTraceServiceRequest>,
    ) -> Result<Response<wire::ExportTraceServiceResponse>, Status> {
        self.0.receive(request.into_inner());
        Ok(Response::new(wire::ExportTraceServiceResponse::default()))
    }
}
