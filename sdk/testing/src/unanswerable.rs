//! What no bridge of this crate can answer, because only a daemon has the bytes.

use kiln_frontend::SourceRequest;
use kiln_frontend::{Code, FrontendError};

/// Refuses a question for the sum of a file.
///
/// # Errors
///
/// If it is one.
pub(crate) fn refuse_sums(request: &SourceRequest) -> Result<(), FrontendError> {
    if request.checksum.is_none() {
        return Ok(());
    }
    let message = "sums of files with bytes behind them need a daemon that has the files";
    Err(FrontendError::new(Code::Unimplemented, message))
}
