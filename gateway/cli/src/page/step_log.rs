//! What a step wrote, as far as a page holds it: how it began and how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use kiln_progress::Stream;

use crate::progress::{Line, LogLines, coloured};

use crate::output::cut;

/// How many of the first lines are kept, and of the last.
const HEAD_LINES: usize = 200;
const TAIL_LINES: usize = 1200;
/// How much of the last lines is kept, in bytes, and how much where space is short.
const TAIL_BYTES: usize = 192 << 10;
const SHORT_BYTES: usize = 4 << 10;
/// A longer line is cut here, in characters.
const LINE_CHARACTERS: usize = 2000;

/// The output of a step.
#[derive(Debug, Default)]
pub(super) struct StepLog {
    lines: LogLines,
    head: Vec<Line>,
    tail: VecDeque<Line>,
    tail_bytes: usize,
    left_out: LeftOut,
}

/// What is not there any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) lines: usize,
    pub(super) bytes: usize,
}

impl StepLog {
    /// Adds output as it was written; where space is `short`, little is kept. Returns how many bytes more
    /// or fewer are held.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        elapsed: Duration,
        data: &[u8],
        short: bool,
    ) -> isize {
        self.lines.push(stream, elapsed, data);
        self.take(short)
    }

    /// Ends lines that have not ended.
    pub(super) fn end(&mut self) {
        self.lines.end_open_lines();
        self.take(false);
    }

    fn take(&mut self, short: bool) -> isize {
        let mut held = 0;
        for Line { elapsed, text } in self.lines.take_pending() {
            let line = Line { elapsed, text: cut(&coloured(&text), LINE_CHARACTERS) };
            held += line.text.len().cast_signed();
            if self.head.len() < HEAD_LINES && !short {
                self.head.push(line);
                continue;
            }
            self.tail_bytes += line.text.len();
            self.tail.push_back(line);
            let most = if short { SHORT_BYTES } else { TAIL_BYTES };
            while self.tail.len() > TAIL_LINES || self.tail_bytes > most {
                let Some(gone) = self.tail.pop_front() else { break };
                self.tail_bytes -= gone.text.len();
                self.left_out.lines += 1;
                self.left_out.bytes += gone.text.len();
                held -= gone.text.len().cast_signed();
            }
        }
        held
    }

    /// How many lines there were.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.left_out.lines + self.tail.len()
    }

    /// The first lines, what is left out after them, and the last lines.
    pub(super) fn parts(&self) -> (&[Line], LeftOut, impl Iterator<Item = &Line>) {
        (&self.head, self.left_out, self.tail.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut log = StepLog::default();
        for n in 0..5000 {
            let line = format!("line {n}\n");
            log.push(Stream::Stdout, Duration::ZERO, line.as_bytes(), false);
        }
        log.push(Stream::Stdout, Duration::ZERO, b"no end", false);
        log.end();
        assert_eq!(log.len(), 5001);
        let (head, left_out, tail) = log.parts();
        assert_eq!((head.len(), head[0].text.as_str()), (HEAD_LINES, "line 0"));
        assert_eq!(left_out.lines, 5001 - HEAD_LINES - TAIL_LINES);
        assert_eq!(tail.last().unwrap().text, "no end");
    }

    #[test]
    fn where_space_is_short_little_is_kept() {
        let mut log = StepLog::default();
        let mut held = 0;
        for _ in 0..100 {
            held += log.push(Stream::Stderr, Duration::ZERO, &[b'x'; 1000], true);
            held += log.push(Stream::Stderr, Duration::ZERO, b"\n", true);
        }
        assert!(held > 0 && held <= SHORT_BYTES.cast_signed(), "{held}");
    }
}
