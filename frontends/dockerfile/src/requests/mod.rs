//! Answers to sub-requests: what a Dockerfile has to build, takes, and is doubtful in.
//!
//! What was read or lowered comes in, the SDK's answers go out; the SDK writes them. Every range is
//! one line, as in errors and warnings.

mod lint;
mod outline;
mod targets;

pub(crate) use lint::lint;
pub(crate) use outline::{Arg, Needed, Outline};
pub(crate) use targets::targets;

use kiln_sdk::frontend::pb;

use crate::lines::Lines;

/// Lines as ranges of the wire, one each.
pub(crate) fn ranges(lines: Lines) -> impl Iterator<Item = pb::Range> {
    lines.each().map(|line| {
        let at = pb::Position { line: line.cast_signed(), character: 0 };
        pb::Range { start: Some(at), end: Some(at) }
    })
}

/// A place in the only file of an answer.
fn location(lines: Lines) -> pb::Location {
    pb::Location { source_index: 0, ranges: ranges(lines).collect() }
}
