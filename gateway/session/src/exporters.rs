//! Exporters that the client names once the result of its build is known, and what it is told when
//! they have run.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kiln_wire::proto::session_exporter::exporter_client::ExporterClient;
use kiln_wire::proto::session_exporter::{
    ExporterRequest, FinalizeExportRequest, FindExportersRequest,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::call::{CallError, within};
use crate::caller::Caller;

/// The client may look into the result first, or do something with what was exported.
const TIMEOUT: Duration = Duration::from_secs(600);

impl Caller {
    /// What is to be exported, beside what the request says, of a result with this metadata and these
    /// refs. A client that names nothing need not have the service.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn find_exporters(
        &self,
        metadata: BTreeMap<String, Bytes>,
        refs: Vec<String>,
    ) -> Result<Vec<ExporterRequest>, CallError> {
        let mut client = self.exporter()?;
        let request = FindExportersRequest { metadata, refs };
        let what = "which exporters there are to be (EnableSessionExporter)";
        let found = self.run(within(TIMEOUT, what, client.find_exporters(request))).await;
        Ok(if_offered(found)?.map(|found| found.exporters).unwrap_or_default())
    }

    /// Tells the client what all exporters of its build have to say.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; what the client refuses is an error of the build.
    pub async fn finalize_export(
        &self,
        exporter_response: BTreeMap<String, String>,
    ) -> Result<(), CallError> {
        let mut client = self.exporter()?;
        let request = FinalizeExportRequest { exporter_response };
        let what = "that everything is exported (EnableSessionExporter)";
        let ended = self.run(within(TIMEOUT, what, client.finalize_export(request))).await;
        if_offered(ended).map(|_| ())
    }

    fn exporter(&self) -> Result<ExporterClient<Channel>, CallError> {
        Ok(ExporterClient::new(self.channel()?)
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES))
    }
}

/// `None` if the client does without the call.
fn if_offered<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Err(CallError::Unsupported(_)) => Ok(None),
        Err(error) if matches!(error.code(), Some(Code::Unimplemented | Code::Unavailable)) => {
            Ok(None)
        }
        answer => answer.map(Some),
    }
}
