//! The output of one step, cut into lines with the time since the step began.
//!
//! Lines that nobody has taken yet and the newest lines are kept; memory is bounded by the length of a
//! line, the number of newest lines and the reader, who takes lines several times a second.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use kiln_progress::Stream;

/// A longer line is cut here, in bytes.
const LINE_BYTES: usize = 64 << 10;
/// How many of the newest lines are kept.
const TAIL_LINES: usize = 400;

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When its first byte was written, since the step began.
    pub elapsed: Duration,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The output of one step.
#[derive(Debug, Default)]
pub(crate) struct LogLines {
    pending: Vec<Line>,
    tail: VecDeque<Line>,
    stdout: Open,
    stderr: Open,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Open {
    elapsed: Duration,
    bytes: Vec<u8>,
}

impl LogLines {
    /// Adds output as it was written.
    pub(crate) fn push(&mut self, stream: Stream, elapsed: Duration, data: &[u8]) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            for chunk in piece.chunks(LINE_BYTES) {
                self.push_piece(stream, elapsed, chunk);
            }
        }
    }

    fn push_piece(&mut self, stream: Stream, elapsed: Duration, piece: &[u8]) {
        let open = self.open(stream);
        if open.bytes.is_empty() {
            open.elapsed = elapsed;
        }
        open.bytes.extend_from_slice(piece);
        if open.bytes.ends_with(b"\n") {
            open.bytes.pop();
            if open.bytes.ends_with(b"\r") {
                open.bytes.pop();
            }
            self.end_line(stream);
        } else if open.bytes.len() >= LINE_BYTES {
            self.end_line(stream);
        }
    }

    fn open(&mut self, stream: Stream) -> &mut Open {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let Open { elapsed, bytes } = mem::take(self.open(stream));
        let line = Line { elapsed, text: String::from_utf8_lossy(&bytes).into_owned() };
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        self.pending.push(line);
    }

    /// Ends lines that have not ended, because the process or its turn has.
    pub(crate) fn end_open_lines(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.open(stream).bytes.is_empty() {
                self.end_line(stream);
            }
        }
    }

    /// The time of the oldest line that has not ended.
    pub(crate) fn open_since(&self) -> Option<Duration> {
        let started = |open: &Open| (!open.bytes.is_empty()).then_some(open.elapsed);
        [started(&self.stdout), started(&self.stderr)].into_iter().flatten().min()
    }

    /// The lines since the last call.
    pub(crate) fn take_pending(&mut self) -> Vec<Line> {
        mem::take(&mut self.pending)
    }

    /// The newest `count` lines, the open ones included, oldest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Line> {
        let open = [&self.stdout, &self.stderr].into_iter().filter(|open| !open.bytes.is_empty());
        let open = open.map(|open| Line {
            elapsed: open.elapsed,
            text: String::from_utf8_lossy(&open.bytes).into_owned(),
        });
        let mut lines: Vec<Line> = self.tail.iter().cloned().chain(open).collect();
        lines.drain(..lines.len().saturating_sub(count));
        lines
    }

    /// Forgets everything: the step is over and went well.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_line_keeps_the_time_of_its_first_byte() {
        let mut log = LogLines::default();
        log.push(Stream::Stdout, Duration::from_secs(1), b"one");
        log.push(Stream::Stderr, Duration::from_secs(2), b"other\r\n");
        log.push(Stream::Stdout, Duration::from_secs(3), b" line\nnext");
        let lines = log.take_pending();
        assert_eq!(texts(&lines), ["other", "one line"]);
        assert_eq!(lines[1].elapsed, Duration::from_secs(1));
        assert_eq!(log.open_since(), Some(Duration::from_secs(3)));
        assert_eq!(texts(&log.newest(2)), ["one line", "next"]);
    }

    #[test]
    fn memory_is_bounded_by_the_tail_and_the_line() {
        let mut log = LogLines::default();
        log.push(Stream::Stdout, Duration::ZERO, &vec![b'x'; 3 * LINE_BYTES]);
        assert_eq!(log.take_pending().len(), 3);
        log.push(Stream::Stdout, Duration::ZERO, "y\n".repeat(2 * TAIL_LINES).as_bytes());
        assert_eq!(log.newest(usize::MAX).len(), TAIL_LINES);
    }
}
