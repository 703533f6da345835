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

use kiln_sdk::frontend::Location;
use kiln_sdk::llb::SourceRange;

use crate::lines::Lines;

/// Lines as ranges, one each.
pub(crate) fn ranges(lines: Lines) -> impl Iterator<Item = SourceRange> {
    lines.each().map(|line| SourceRange::lines(line, line))
}

/// A place in the only file of an answer.
fn location(lines: Lines) -> Location {
    Location::new(ranges(lines))
}
