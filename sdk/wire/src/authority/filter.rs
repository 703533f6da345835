//! The frames of a client on their way to the server, requests with a proper authority.
//!
//! Bytes come in as they arrive, bytes for the server go out; nothing waits longer than until its
//! header block is complete. If the first request is fine nothing else is looked at.

use bytes::{BufMut, BytesMut};
use http::uri::Authority;

use super::hpack::{self, BlockError, Decoder, Field};

/// What every client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame.
const FRAME_HEADER: usize = 9;
/// The largest frame that a server takes unless it says otherwise.
const FRAME_LIMIT: usize = 16 << 10;
/// The most bytes of one header block.
const BLOCK_LIMIT: usize = 5 << 20;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What stands in for an authority that is none; also what BuildKit's own clients say.
const LOCALHOST: &[u8] = b"localhost";

/// Why a client's frames cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A header block cannot be read.
    #[error("invalid HTTP/2 request")]
    Block(#[from] BlockError),
    /// The frames of a header block are not those of one.
    #[error("invalid HTTP/2 request: {0}")]
    Frame(&'static str),
}

/// The state of one connection; bytes in, bytes out.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    decoder: Decoder,
    /// The first request was not fine, so that no table of the client is known to the server.
    rewrites: bool,
}

/// Where in the stream of frames the client is.
#[derive(Debug)]
enum State {
    /// Within the preface, after so many bytes.
    Preface(usize),
    /// Within the header of a frame, which may have to go on with a block.
    Header { bytes: Vec<u8>, block: Option<Block> },
    /// Within a frame of a header block.
    Fragment { frame: Frame, payload: Vec<u8>, block: Block },
    /// Within a frame of another kind.
    Other { left: usize },
    /// Nothing is looked at any longer.
    Off,
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

/// A header block that is not complete.
#[derive(Debug)]
struct Block {
    first: Frame,
    /// The block so far.
    fragments: Vec<u8>,
    /// The same in the frames in which it came.
    frames: Vec<u8>,
}

impl Filter {
    /// Whether everything from now on is passed on as it is, so that it need not come here.
    pub fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    /// Takes what arrived and appends to `out` what the server may see.
    ///
    /// # Errors
    ///
    /// [`FilterError`]; the connection is of no use then.
    pub fn feed(&mut self, mut arrived: &[u8], out: &mut BytesMut) -> Result<(), FilterError> {
        while !arrived.is_empty() {
            let taken = self.step(arrived, out)?;
            arrived = &arrived[taken..];
        }
        Ok(())
    }

    /// What is still held when the client is gone: the beginning of something.
    pub fn finish(self) -> Vec<u8> {
        let block = |block: Option<Block>| block.map(|block| block.frames).unwrap_or_default();
        match self.state {
            State::Header { bytes, block: held } => [block(held), bytes].concat(),
            State::Fragment { payload, block: held, .. } => [block(Some(held)), payload].concat(),
            State::Preface(_) | State::Other { .. } | State::Off => Vec::new(),
        }
    }

    /// Takes a part of what arrived, at least one byte, and says how much.
    fn step(&mut self, arrived: &[u8], out: &mut BytesMut) -> Result<usize, FilterError> {
        match &mut self.state {
            State::Off => {
                out.extend_from_slice(arrived);
                Ok(arrived.len())
            }
            State::Preface(seen) => {
                let length = arrived.len().min(PREFACE.len() - *seen);
                out.extend_from_slice(&arrived[..length]);
                let expected = PREFACE[*seen..].starts_with(&arrived[..length]);
                self.state = match *seen + length {
                    // The server says best what is wrong with that.
                    _ if !expected => State::Off,
                    seen if seen < PREFACE.len() => State::Preface(seen),
                    _ => State::next(None),
                };
                Ok(length)
            }
            State::Other { left } => {
                let length = arrived.len().min(*left);
                out.extend_from_slice(&arrived[..length]);
                *left -= length;
                if *left == 0 {
                    self.state = State::next(None);
                }
                Ok(length)
            }
            State::Header { bytes, block } => {
                let length = arrived.len().min(FRAME_HEADER - bytes.len());
                bytes.extend_from_slice(&arrived[..length]);
                if let Ok(header) = <[u8; FRAME_HEADER]>::try_from(&bytes[..]) {
                    let block = block.take();
                    self.begin_frame(header, block, out)?;
                }
                Ok(length)
            }
            State::Fragment { frame, payload, .. } => {
                let length = arrived.len().min(frame.length - payload.len());
                payload.extend_from_slice(&arrived[..length]);
                self.end_frame(out)?;
                Ok(length)
            }
        }
    }

    /// The header of a frame is here.
    fn begin_frame(
        &mut self,
        header: [u8; FRAME_HEADER],
        block: Option<Block>,
        out: &mut BytesMut,
    ) -> Result<(), FilterError> {
        let frame = Frame::parse(header);
        if block.is_none() && frame.kind != HEADERS {
            out.extend_from_slice(&header);
            self.state = match frame.length {
                0 => State::next(None),
                left => State::Other { left },
            };
            return Ok(());
        }
        let block = Block::go_on(block, frame, header)?;
        self.state = State::Fragment { frame, payload: Vec::new(), block };
        self.end_frame(out)
    }

    /// Ends a frame of a header block if all of it is here.
    fn end_frame(&mut self, out: &mut BytesMut) -> Result<(), FilterError> {
        let state = std::mem::replace(&mut self.state, State::next(None));
        let State::Fragment { frame, payload, mut block } = state else { return Ok(()) };
        if payload.len() < frame.length {
            self.state = State::Fragment { frame, payload, block };
            return Ok(());
        }
        block.frames.extend_from_slice(&payload);
        block.fragments.extend_from_slice(frame.fragment(&payload)?);
        if frame.flags & END_HEADERS == 0 {
            self.state = State::next(Some(block));
            return Ok(());
        }
        self.end_block(&block, out)
    }

    /// A header block is complete.
    fn end_block(&mut self, block: &Block, out: &mut BytesMut) -> Result<(), FilterError> {
        let mut fields = self.decoder.decode(&block.fragments)?;
        let is_request = fields.iter().any(|field| field.name == b":method");
        let mended = is_request && mend(&mut fields);
        if mended || self.rewrites {
            self.rewrites = true;
            write(block.first, &hpack::encode(&fields), out);
            return Ok(());
        }
        out.extend_from_slice(&block.frames);
        if is_request {
            self.state = State::Off;
        }
        Ok(())
    }
}

impl State {
    /// In front of a frame.
    fn next(block: Option<Block>) -> Self {
        Self::Header { bytes: Vec::with_capacity(FRAME_HEADER), block }
    }
}

impl Frame {
    fn parse(header: [u8; FRAME_HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        Self { length: u32::from_be_bytes([0, a, b, c]) as usize, kind, flags, stream }
    }

    /// The part of a header block in the payload of this frame.
    fn fragment(self, mut payload: &[u8]) -> Result<&[u8], FilterError> {
        let malformed = FilterError::Frame("a frame of headers is malformed");
        if self.kind == HEADERS && self.flags & PADDED != 0 {
            let (padding, rest) = payload.split_first().ok_or(malformed)?;
            let length = rest.len().checked_sub(usize::from(*padding)).ok_or(malformed)?;
            payload = &rest[..length];
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            payload = payload.get(5..).ok_or(malformed)?;
        }
        Ok(payload)
    }
}

impl Block {
    /// Begins a block with a frame, or goes on with one.
    fn go_on(
        block: Option<Self>,
        frame: Frame,
        header: [u8; FRAME_HEADER],
    ) -> Result<Self, FilterError> {
        let mut block = match block {
            None => Self { first: frame, fragments: Vec::new(), frames: Vec::new() },
            Some(block) if frame.kind == CONTINUATION && frame.stream == block.first.stream => {
                block
            }
            Some(_) => return Err(FilterError::Frame("a header block is interrupted")),
        };
        block.frames.extend_from_slice(&header);
        if frame.length > FRAME_LIMIT || block.frames.len() + frame.length > BLOCK_LIMIT {
            return Err(FilterError::Frame("a header block is too large"));
        }
        Ok(block)
    }
}

/// Replaces an authority that no server takes; says whether there was one.
fn mend(fields: &mut [Field]) -> bool {
    let mut mended = false;
    let authorities = fields.iter_mut().filter(|field| field.name == b":authority");
    for field in authorities.filter(|field| Authority::try_from(&field.value[..]).is_err()) {
        field.value = LOCALHOST.to_vec();
        mended = true;
    }
    mended
}

/// Writes a header block in as many frames as it needs.
fn write(first: Frame, block: &[u8], out: &mut BytesMut) {
    let count = block.len().div_ceil(FRAME_LIMIT).max(1);
    let mut pieces = block.chunks(FRAME_LIMIT);
    for number in 1..=count {
        let piece = pieces.next().unwrap_or_default();
        let end = if number == count { END_HEADERS } else { 0 };
        let (kind, flags) = match number {
            1 => (HEADERS, first.flags & END_STREAM | end),
            _ => (CONTINUATION, end),
        };
        // A piece is not longer than a frame may be.
        out.put_uint(piece.len() as u64, 3);
        out.put_slice(&[kind, flags]);
        out.put_slice(&first.stream);
        out.put_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's preface and frames, of `(type, flags, payload)`, on stream 1.
    fn sent(frames: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, payload) in frames {
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags, 0, 0, 0, 1]);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn filtered(sent: &[u8], piece: usize) -> Result<Vec<u8>, FilterError> {
        let (mut filter, mut out) = (Filter::default(), BytesMut::new());
        sent.chunks(piece).try_for_each(|piece| filter.feed(piece, &mut out))?;
        out.extend_from_slice(&filter.finish());
        Ok(out.to_vec())
    }

    /// What the server sees, whatever the pieces in which it is sent.
    fn seen(sent: &[u8]) -> Vec<u8> {
        let whole = filtered(sent, usize::MAX).unwrap();
        for piece in [1, 7, 100] {
            assert_eq!(filtered(sent, piece).unwrap(), whole, "in pieces of {piece}");
        }
        whole
    }

    /// `:method POST`, `:scheme http`, `:path /`, and an authority as it is encoded.
    fn request(authority: &[u8]) -> Vec<u8> {
        [b"\x83\x86\x84", authority].concat()
    }

    fn rewritten(authority: &str) -> Vec<u8> {
        let field = |name: &str, value: &str| Field {
            name: name.into(),
            value: value.into(),
            never_indexed: false,
        };
        hpack::encode(&[
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/"),
            field(":authority", authority),
        ])
    }

    #[test]
    fn a_client_with_an_authority_is_passed_on_as_it_is() {
        let fine = request(b"\x41\x09localhost");
        let second = request(b"\x01\x00");
        let frames = sent(&[
            (4, 0, b""),
            (HEADERS, END_HEADERS, &fine),
            (0, 0, b"data"),
            // Nobody looks any longer.
            (HEADERS, END_HEADERS, &second),
        ]);
        assert_eq!(seen(&frames), frames);
        let absent = sent(&[(HEADERS, END_HEADERS, &request(b""))]);
        assert_eq!(seen(&absent), absent);
    }

    #[test]
    fn an_authority_that_is_none_becomes_localhost() {
        for authority in
            [&b"\x81"[..], b"\x01\x00", b"\x41\x00", b"\x41\x0b/run/x.sock", b"\x01\x05%2Fx%"]
        {
            let frames = sent(&[
                (4, 0, b""),
                (HEADERS, END_HEADERS | END_STREAM, &request(authority)),
                (0, 1, b"data"),
            ]);
            let wanted = sent(&[
                (4, 0, b""),
                (HEADERS, END_HEADERS | END_STREAM, &rewritten("localhost")),
                (0, 1, b"data"),
            ]);
            assert_eq!(seen(&frames), wanted, "{authority:x?}");
        }
    }

    #[test]
    fn later_requests_may_use_the_table_of_the_first() {
        let frames = sent(&[
            (HEADERS, END_HEADERS, &request(b"\x41\x0b/run/x.sock")),
            (HEADERS, END_HEADERS, &request(b"\xbe")),
            (HEADERS, END_HEADERS | END_STREAM, b"\x40\x01a\x01b"),
            (HEADERS, END_HEADERS, &request(b"\xbf")),
        ]);
        let trailer = Field { name: b"a".to_vec(), value: b"b".to_vec(), never_indexed: false };
        let wanted = sent(&[
            (HEADERS, END_HEADERS, &rewritten("localhost")),
            (HEADERS, END_HEADERS, &rewritten("localhost")),
            (HEADERS, END_HEADERS | END_STREAM, &hpack::encode(&[trailer])),
            (HEADERS, END_HEADERS, &rewritten("localhost")),
        ]);
        assert_eq!(seen(&frames), wanted);
    }

    #[test]
    fn padding_priority_and_continuations_are_understood() {
        let block = request(b"\x81");
        let padded = [b"\x03\0\0\0\0\x10", &block[..2], b"\0\0\0"].concat();
        let frames = sent(&[
            (HEADERS, PADDED | PRIORITY, &padded),
            (CONTINUATION, 0, b""),
            (CONTINUATION, END_HEADERS, &block[2..]),
        ]);
        assert_eq!(seen(&frames), sent(&[(HEADERS, END_HEADERS, &rewritten("localhost"))]));
    }

    #[test]
    fn what_becomes_longer_than_a_frame_is_continued() {
        let value = vec![b'x'; FRAME_LIMIT - 20];
        let mut block = request(b"\x81\x00\x01a\x7f");
        block.extend_from_slice(&[0xed, 0x7e]);
        block.extend_from_slice(&value);
        let frames = sent(&[(HEADERS, END_HEADERS, &block)]);
        let out = seen(&frames);
        assert_eq!(&out[24..24 + 5], b"\0\x40\0\x01\0");
        assert_eq!(seen(&out), out, "it is fine now");
    }

    #[test]
    fn what_is_not_http2_is_left_to_the_server() {
        for text in [&b"hello"[..], b"PRI * HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM"] {
            assert_eq!(seen(text), text);
        }
        let cut = sent(&[(HEADERS, END_HEADERS, &request(b"\x81"))]);
        assert_eq!(seen(&cut[..cut.len() - 1]), &cut[..cut.len() - 1]);
    }

    #[test]
    fn header_blocks_that_are_none_end_the_connection() {
        for frames in [
            &[(HEADERS, 0, &b"\x83"[..]), (0, 0, b"data")][..],
            &[(HEADERS, END_HEADERS, b"\xff\xff")],
            &[(HEADERS, END_HEADERS | PADDED, b"\x09")],
            &[(HEADERS, END_HEADERS | PRIORITY, b"\x09")],
            &[(HEADERS, END_HEADERS, &[0; FRAME_LIMIT + 1])],
        ] {
            assert!(filtered(&sent(frames), 5).is_err(), "{:x?}", frames[0]);
        }
    }
}
