//! Exporters that the client names only when it knows the result (`EnableSessionExporter`).

use std::collections::BTreeMap;

use kiln_engine::{ErrorKind, OpError};
use kiln_frontend::{BuildResult, Ref};
use kiln_session::Caller;
use kiln_wire::proto::control::Exporter;
use kiln_wire::status::RichStatus;

use crate::Builder;
use crate::pipeline::SESSION_TIMEOUT;

/// What the client wants to be exported of a result, beside what its request says.
///
/// # Errors
///
/// If there is no client, or what it says.
pub(crate) async fn find(
    builder: &Builder,
    session: &str,
    result: &BuildResult<Ref>,
) -> Result<Vec<Exporter>, RichStatus> {
    let refs = result.held().map(|of| of.0.clone()).collect();
    let metadata = result.metadata.clone().into_iter().collect();
    let found = caller(builder, session).await?.find_exporters(metadata, refs).await;
    let found = found.map_err(|error| failed(&error))?;
    Ok(found
        .into_iter()
        .map(|asked| Exporter { r#type: asked.r#type, attrs: asked.attrs })
        .collect())
}

/// Tells the client what came of all exporters.
///
/// # Errors
///
/// If the client is gone, or does not agree.
pub(crate) async fn finalize(
    builder: &Builder,
    session: &str,
    response: &BTreeMap<String, String>,
) -> Result<(), RichStatus> {
    let told = caller(builder, session).await?.finalize_export(response.clone()).await;
    told.map_err(|error| failed(&error))
}

async fn caller(builder: &Builder, session: &str) -> Result<Caller, RichStatus> {
    let caller = builder.parts.sessions.get(session, SESSION_TIMEOUT).await;
    caller.map_err(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> RichStatus {
    kiln_bridge::op_status(&OpError::from_error(ErrorKind::Failed, error))
}
