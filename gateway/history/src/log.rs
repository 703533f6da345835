//! The progress of a build as one blob: each message after its length.
//!
//! Lengths are 32 bits, least significant byte first.

use std::io::{self, Read};

use kiln_pb::control::StatusResponse;
use prost::Message as _;

/// The media type of the progress of a build.
pub const LOG_MEDIA_TYPE: &str = "application/vnd.buildkit.status.v0";
/// The longest message that is read, in bytes.
const MAX_MESSAGE: u32 = 16 << 20;

/// One message, as it stands in the blob.
pub(crate) fn frame(message: &StatusResponse) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(4 + length);
    // Messages are those that gRPC carries, far below 4 GiB.
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&message.encode_to_vec());
    frame
}

/// The next message; `None` at the end.
///
/// # Errors
///
/// If there is something else than a message, or the rest cannot be read.
pub(crate) fn next(reader: &mut impl Read) -> io::Result<Option<StatusResponse>> {
    let mut length = [0; 4];
    match reader.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => reader.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE {
        let message = format!("a message of {length} bytes in the log of a build");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut message = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut message)?;
    if message.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = StatusResponse::decode(&message[..]);
    message.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use kiln_pb::control::VertexLog;

    use super::*;

    fn message(text: &str) -> StatusResponse {
        let log = VertexLog { msg: text.to_owned().into(), ..VertexLog::default() };
        StatusResponse { logs: vec![log], ..StatusResponse::default() }
    }

    #[test]
    fn messages_are_read_as_they_were_written_until_the_end() {
        let messages = [message("one"), StatusResponse::default(), message("three")];
        let blob: Vec<u8> = messages.iter().flat_map(frame).collect();
        assert_eq!(blob[..4], (messages[0].encoded_len() as u32).to_le_bytes());
        let mut reader = &blob[..];
        for message in &messages {
            assert_eq!(next(&mut reader).unwrap().as_ref(), Some(message));
        }
        assert_eq!(next(&mut reader).unwrap(), None);
    }

    #[test]
    fn what_is_no_log_is_an_error_and_takes_no_memory() {
        for blob in [&[1, 0][..], &[9, 0, 0, 0, 1], &[255; 8], &[1, 0, 0, 0, 255]] {
            assert!(next(&mut &blob[..]).is_err(), "{blob:?}");
        }
    }
}
