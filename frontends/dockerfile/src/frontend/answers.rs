//! Sub-requests: what is asked of a file besides building it.

use kiln_sdk::frontend::{BuildResult, FrontendError, Ref};

use super::Source;
use super::world::World;

/// Answers a sub-request.
pub(super) async fn answer(
    _world: &World<'_>,
    _source: &Source<'_>,
    request: &str,
) -> Result<BuildResult<Ref>, FrontendError> {
    Err(FrontendError::unsupported_request(request))
}
