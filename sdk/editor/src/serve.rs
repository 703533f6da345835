//! Bytes of two streams into messages for a server, and back.

use std::io::{BufRead, Read as _, Write};

use serde_json::Value;

use crate::Server;

/// Bytes of the largest message; a document larger than that is none.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Bytes of the longest line in front of a message.
const MAX_HEADER_BYTES: u64 = 8 << 10;
/// Lines in front of a message.
const MAX_HEADERS: usize = 32;

/// Why an editor is no longer listened to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A stream cannot be read or written.
    #[error("the editor is gone")]
    Stream(#[from] std::io::Error),
    /// What stands before a message is none of the protocol's.
    #[error("not a message of the Language Server Protocol: {0}")]
    Header(&'static str),
    /// A message is too large.
    #[error("a message has {0} bytes; at most {MAX_MESSAGE_BYTES} are read")]
    TooLarge(u64),
}

/// Reads messages until the editor says `exit` or ends the stream, and writes what the server says.
///
/// # Errors
///
/// If a stream fails, or what comes is no protocol. Afterwards nothing of the stream can be
/// understood any more.
pub fn serve(
    server: &mut Server,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), ServeError> {
    while !server.is_done() {
        let Some(message) = read(input)? else { return Ok(()) };
        let answers = match serde_json::from_slice::<Value>(&message) {
            Ok(message) => server.handle(&message),
            Err(error) => vec![Server::unreadable(&error.to_string())],
        };
        for answer in answers {
            let text = answer.to_string();
            write!(output, "Content-Length: {}\r\n\r\n{text}", text.len())?;
        }
        output.flush()?;
    }
    Ok(())
}

/// The next message; none at the end of the stream.
fn read(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, ServeError> {
    let mut length = None;
    for number in 0..MAX_HEADERS {
        let mut line = Vec::new();
        input.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() && number == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(ServeError::Header("a header does not end"));
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            let length = length.ok_or(ServeError::Header("it has no Content-Length"))?;
            return body(input, length).map(Some);
        }
        let text = std::str::from_utf8(line).ok().and_then(|text| text.split_once(':'));
        let (name, value) = text.ok_or(ServeError::Header("a header has no colon"))?;
        if name.trim().eq_ignore_ascii_case("content-length") {
            let value = value.trim().parse::<u64>();
            length =
                Some(value.map_err(|_| ServeError::Header("its Content-Length is no number"))?);
        }
    }
    Err(ServeError::Header("it has too many headers"))
}

fn body(input: &mut impl BufRead, length: u64) -> Result<Vec<u8>, ServeError> {
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_MESSAGE_BYTES);
    let size = size.ok_or(ServeError::TooLarge(length))?;
    let mut bytes = Vec::new();
    // Room is made as bytes arrive, not because somebody says that they will.
    input.by_ref().take(length).read_to_end(&mut bytes)?;
    match bytes.len() == size {
        true => Ok(bytes),
        false => Err(ServeError::Stream(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(input: &str) -> String {
        let mut server = Server::new(Vec::new());
        let mut out = Vec::new();
        let ended = serve(&mut server, &mut input.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        ended.map_or_else(|error| error.to_string(), |()| out)
    }

    #[test]
    fn what_is_no_message_ends_the_talk() {
        assert_eq!(end_of(""), "");
        assert!(end_of("Content-Length: 99999999999\r\n\r\n").contains("at most 16777216"));
        assert!(end_of("Content-Length: -1\r\n\r\n").contains("no number"));
        assert!(end_of("hello\r\n\r\n").contains("no colon"));
        assert!(end_of("\r\n{}").contains("no Content-Length"));
        assert!(end_of("Content-Length: 9\r\n\r\n{}").contains("gone"));
        assert!(end_of(&"a".repeat(9000)).contains("does not end"));
        assert!(end_of(&"a: b\r\n".repeat(99)).contains("too many headers"));
    }

    #[test]
    fn what_is_no_json_is_answered_and_the_talk_goes_on() {
        let twice = "Content-Length: 2\r\n\r\n{]Content-Length: 2\r\n\r\n[]";
        let out = end_of(twice);
        assert!(out.contains("-32700") && out.contains("-32600"), "{out}");
        let deep = "[".repeat(100_000);
        assert!(end_of(&format!("Content-Length: 100000\r\n\r\n{deep}")).contains("-32700"));
    }
}
