//! Archives a client uploads, such as a context on its standard input.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::upload::BytesMessage;
use kiln_wire::proto::upload::upload_client::UploadClient;
use tonic::Request;

use crate::call::{CallError, answers};
use crate::caller::Caller;
use crate::content::until_ended;
use crate::header;
use crate::waiting::{self, SILENCE};

impl Caller {
    /// Reads what a client uploads under an address such as `http://buildkit-session/<id>`, of which
    /// `host` and `path` are parts.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; a stream that fails is not the whole archive.
    pub fn upload(
        &self,
        host: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
        let mut client =
            UploadClient::new(self.channel()?).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut call = Request::new(futures::stream::pending::<BytesMessage>());
        header::append(call.metadata_mut(), "urlhost", &[host])?;
        header::append(call.metadata_mut(), "urlpath", &[path])?;
        let data = answers(async move { client.pull(call).await });
        let data = data.map_ok(|message| message.data).map_err(CallError::refused("uploads"));
        let what = format!("the upload http://{host}{path}");
        let late = || CallError::TimedOut { what: what.into(), limit: SILENCE };
        let data = waiting::not_silent(data.boxed(), SILENCE, late);
        Ok(until_ended(self, data))
    }
}
