//! Decisions on sources that the client makes itself.

use std::time::Duration;

use kiln_wire::proto::policysession::policy_verifier_client::PolicyVerifierClient;
use kiln_wire::proto::policysession::{CheckPolicyRequest, CheckPolicyResponse};

use crate::call::{CallError, within};
use crate::caller::Caller;

/// The client may ask people, or a service.
const TIMEOUT: Duration = Duration::from_secs(120);

impl Caller {
    /// What the client decides on a source, or what it wants to know first.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; [`CallError::Unsupported`] if the client decides on nothing.
    pub async fn check_policy(
        &self,
        request: CheckPolicyRequest,
    ) -> Result<CheckPolicyResponse, CallError> {
        let mut client = PolicyVerifierClient::new(self.channel()?)
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        let what = "a decision on a source (SourcePolicySession)";
        self.run(within(TIMEOUT, what, client.check_policy(request))).await
    }
}
