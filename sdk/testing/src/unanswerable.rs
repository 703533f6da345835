//! What no bridge of this crate can answer, because only a daemon has the bytes.

use kiln_frontend::SourceRequest;
use kiln_wire::status::RichStatus;
use tonic::Code;

/// Refuses a question for the sum of a file.
///
/// # Errors
///
/// If it is one.
pub(crate) fn refuse_sums(request: &SourceRequest) -> Result<(), RichStatus> {
    if request.checksum.is_none() {
        return Ok(());
    }
    let message = "sums of files with bytes behind them need a daemon that has the files";
    Err(RichStatus::new(Code::Unimplemented, message))
}
