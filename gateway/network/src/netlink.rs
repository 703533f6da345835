//! Messages to the kernel about links and packet filters, and the socket they go through.
//!
//! A [`Message`] is built from fixed headers and attributes; a [`Socket`] sends some and waits until
//! the kernel has done each. What the messages mean is known in `links` and `filter`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// The kernel answers before `send` returns; one that has lost the answer is not waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Larger than any answer in one piece.
const BUFFER_BYTES: usize = 64 << 10;
/// The length of a message's header.
const HEADER_BYTES: usize = 16;
/// Names of links and tables are shorter.
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// Flags of a request that makes something.
pub(crate) const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// What a socket talks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Links, addresses and routes.
    Links,
    /// Packet filters.
    Filters,
}

/// One request, in the kernel's encoding: numbers are those of the machine, unless something else is
/// said.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request with a type and flags; more flags are added when it is sent.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = flags | libc::NLM_F_REQUEST as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self(bytes)
    }

    /// The fixed part that follows the header.
    #[must_use]
    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.align();
        self
    }

    /// An attribute with bytes.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.align();
    }

    /// An attribute with a text, which ends with a zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat());
    }

    /// An attribute with a number as packet filters have it, most significant byte first.
    pub(crate) fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    /// An attribute made of others.
    pub(crate) fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        self.nested_after(kind, &[], content);
    }

    /// An attribute made of a fixed part and others.
    pub(crate) fn nested_after(
        &mut self,
        kind: u16,
        fixed: &[u8],
        content: impl FnOnce(&mut Self),
    ) {
        let start = self.0.len();
        self.attribute(kind | NESTED, fixed);
        content(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// The bytes of the request, with its number and with what else is asked of the kernel.
    fn finish(mut self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = flags | u16::from_ne_bytes([self.0[6], self.0[7]]);
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A connection to the kernel. It stays with the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Connects, for the network namespace of the calling thread.
    pub(crate) fn open(topic: Topic) -> io::Result<Self> {
        let protocol = match topic {
            Topic::Links => None,
            Topic::Filters => Some(netlink::NETFILTER),
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do one thing.
    pub(crate) fn request(&mut self, message: Message) -> io::Result<()> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence, libc::NLM_F_ACK as u16);
        send(&self.socket, &bytes, SendFlags::empty())?;
        self.acknowledged(self.sequence)
    }

    /// Has the kernel do all of these or, if one cannot be done, none. Only packet filters know that.
    pub(crate) fn transaction(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let begin = Message::new(libc::NFNL_MSG_BATCH_BEGIN as u16, 0).body(&batch());
        let end = Message::new(libc::NFNL_MSG_BATCH_END as u16, 0).body(&batch());
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let first = self.sequence + 1;
        let mut bytes = begin.finish(first, 0);
        for (number, message) in (first + 1..).zip(messages) {
            bytes.extend(message.finish(number, libc::NLM_F_ACK as u16));
        }
        self.sequence = first + count + 1;
        bytes.extend(end.finish(self.sequence, 0));
        send(&self.socket, &bytes, SendFlags::empty())?;
        (first + 1..=first + count).try_for_each(|number| self.acknowledged(number))
    }

    /// Asks for something that has one answer; returns what follows the answer's header.
    pub(crate) fn ask(&mut self, message: Message) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        send(&self.socket, &message.finish(self.sequence, 0), SendFlags::empty())?;
        loop {
            for answer in self.receive()? {
                match answer.into_result(self.sequence) {
                    Some(Ok(body)) => return Ok(body),
                    Some(Err(error)) => return Err(error),
                    None => {}
                }
            }
        }
    }

    /// Asks for a list; returns what follows the header of each entry.
    pub(crate) fn list(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence, libc::NLM_F_DUMP as u16);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut entries = Vec::new();
        loop {
            for answer in self.receive()? {
                if answer.kind == libc::NLMSG_DONE as u16 {
                    return Ok(entries);
                }
                match answer.into_result(self.sequence) {
                    Some(Ok(body)) => entries.push(body),
                    Some(Err(error)) => return Err(error),
                    None => {}
                }
            }
        }
    }

    fn acknowledged(&self, sequence: u32) -> io::Result<()> {
        loop {
            for answer in self.receive()? {
                if let Some(result) = answer.into_result(sequence) {
                    return result.map(drop);
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => return Ok(Answer::all(&buffer[..length])),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The fixed part of what encloses a transaction.
fn batch() -> [u8; 4] {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    [libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8, high, low]
}

/// One message of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    kind: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Answer {
    /// The messages in one piece; what is cut off is left out.
    fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut answers = Vec::new();
        while let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
            answers.push(Self {
                kind: u16::from_ne_bytes([header[4], header[5]]),
                sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
                body: body.to_vec(),
            });
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        answers
    }

    /// What it says about a request; nothing, if it is about another.
    fn into_result(self, sequence: u32) -> Option<io::Result<Vec<u8>>> {
        if self.sequence != sequence {
            return None;
        }
        if self.kind != libc::NLMSG_ERROR as u16 {
            return Some(Ok(self.body));
        }
        let code = self.body.first_chunk::<4>().map_or(-libc::EPROTO, |it| i32::from_ne_bytes(*it));
        match code {
            0 => Some(Ok(Vec::new())),
            code => Some(Err(io::Error::from_raw_os_error(code.saturating_neg()))),
        }
    }
}

/// The attribute of a kind among those that `bytes` consist of.
pub(crate) fn find(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while let Some(header) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) & !NESTED == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_their_lengths_are_not() {
        let mut message = Message::new(7, 0).body(&[1, 2]);
        message.nested(3, |inner| inner.text(4, "ab"));
        let bytes = message.finish(9, 0);
        assert_eq!(bytes.len(), 16 + 4 + 4 + 8);
        assert_eq!(bytes[0..4], 32_u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [1, 2, 0, 0]);
        assert_eq!(bytes[20..22], 12_u16.to_ne_bytes());
        assert_eq!(bytes[24..26], 7_u16.to_ne_bytes());
        assert_eq!(find(&bytes[24..], 4), Some(&b"ab\0"[..]));
    }

    #[test]
    fn whatever_the_answer_holds_it_is_read_to_its_end() {
        let mut bytes = Message::new(5, 0).body(&[1, 2, 3, 4]).finish(1, 0);
        bytes.extend(Message::new(6, 0).finish(2, 0));
        bytes.extend([200, 0, 0, 0, 1]);
        let answers = Answer::all(&bytes);
        assert_eq!(answers.iter().map(|it| it.kind).collect::<Vec<_>>(), [5, 6]);
        for length in 0..bytes.len() {
            Answer::all(&bytes[..length]);
            find(&bytes[..length], 9);
        }
        // A length that leads nowhere.
        assert_eq!(Answer::all(&[0; 64]), []);
        assert_eq!(find(&[0; 16], 1), None);
    }

    #[test]
    fn an_error_is_the_kernels() {
        let error = |code: i32| Answer { kind: 2, sequence: 3, body: code.to_ne_bytes().to_vec() };
        assert!(error(0).into_result(4).is_none());
        assert!(error(0).into_result(3).unwrap().is_ok());
        let refused = error(-libc::EPERM).into_result(3).unwrap().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(error(i32::MIN).into_result(3).unwrap().is_err());
    }
}
