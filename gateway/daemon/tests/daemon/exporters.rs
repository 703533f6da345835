//! Exporters that the client of a session names when it knows the result (`EnableSessionExporter`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::proto::control::SolveRequest;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::session_exporter::exporter_server::{Exporter, ExporterServer};
use kiln_wire::proto::session_exporter::{
    ExporterRequest, FinalizeExportRequest, FinalizeExportResponse, FindExportersRequest,
    FindExportersResponse,
};
use prost::Message as _;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::kilnd::Kilnd;
use crate::session;

const METHODS: &[&str] =
    &["/moby.exporter.v1.Exporter/FindExporters", "/moby.exporter.v1.Exporter/FinalizeExport"];

/// Wants an image of what has a ref, and remembers what it is told at the end.
#[derive(Clone, Default)]
struct Chooser {
    ended: Arc<Mutex<Option<BTreeMap<String, String>>>>,
    disagrees: bool,
}

#[async_trait]
impl Exporter for Chooser {
    async fn find_exporters(
        &self,
        request: Request<FindExportersRequest>,
    ) -> Result<Response<FindExportersResponse>, Status> {
        let refs = request.into_inner().refs;
        let image = |_| ExporterRequest {
            r#type: "image".into(),
            attrs: [("name".to_owned(), "example.com/later:1".to_owned())].into(),
        };
        Ok(Response::new(FindExportersResponse { exporters: refs.iter().map(image).collect() }))
    }

    async fn finalize_export(
        &self,
        request: Request<FinalizeExportRequest>,
    ) -> Result<Response<FinalizeExportResponse>, Status> {
        *self.ended.lock().unwrap() = Some(request.into_inner().exporter_response);
        match self.disagrees {
            true => Err(Status::unknown("that will not do")),
            false => Ok(Response::new(FinalizeExportResponse {})),
        }
    }
}

/// A directory with a file.
fn definition() -> pb::Definition {
    let mkfile = pb::FileActionMkFile {
        path: "/file".into(),
        mode: 0o644,
        data: "content".into(),
        timestamp: -1,
        ..Default::default()
    };
    let action = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkfile(mkfile)),
    };
    let file = pb::op::Op::File(pb::FileOp { actions: vec![action] });
    let file = pb::Op { op: Some(file), ..Default::default() }.encode_to_vec();
    let input = pb::Input { digest: Digest::sha256(&file).to_string(), index: 0 };
    let terminal = pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec();
    pb::Definition { def: vec![file.into(), terminal.into()], ..Default::default() }
}

#[tokio::test]
async fn the_client_names_exporters_when_it_knows_the_result() {
    let daemon = Kilnd::start();
    let mut control = ControlClient::new(daemon.client().await.channel());
    let request = |session: &str| SolveRequest {
        r#ref: format!("build of {session}"),
        session: session.into(),
        definition: Some(definition()),
        enable_session_exporter: true,
        ..SolveRequest::default()
    };
    let agrees = Chooser::default();
    session::open(&control, "agrees", METHODS, Routes::new(ExporterServer::new(agrees.clone())));
    let response = control.solve(request("agrees")).await.unwrap().into_inner().exporter_response;
    assert_eq!(response["image.name"], "example.com/later:1");
    assert!(response.contains_key("containerimage.digest"), "{response:?}");
    assert_eq!(agrees.ended.lock().unwrap().as_ref(), Some(&response));

    let disagrees = Chooser { disagrees: true, ..Chooser::default() };
    session::open(&control, "disagrees", METHODS, Routes::new(ExporterServer::new(disagrees)));
    let status = control.solve(request("disagrees")).await.unwrap_err();
    assert!(status.message().contains("that will not do"), "{status:?}");

    // Who offers no exporters gets none.
    session::open(&control, "silent", &[], Routes::default());
    let response = control.solve(request("silent")).await.unwrap().into_inner().exporter_response;
    assert_eq!(response.get("image.name"), None);
}
