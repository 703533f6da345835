//! What the other crates of the SDK need to send a graph. It is no part of what this crate promises:
//! see the feature `pb` for programs that speak the protocol themselves.

use kiln_oci::Digest;
use kiln_pb::pb;

use crate::{Definition, DefinitionError, SourcePosition, SourceRange};

/// A graph of its message.
pub fn from_message(message: pb::Definition) -> Definition {
    Definition::from_message(message)
}

/// The message of a graph.
pub fn to_message(definition: Definition) -> pb::Definition {
    definition.into_message()
}

/// The ops with their digests, in order.
pub fn ops(
    definition: &Definition,
) -> impl Iterator<Item = Result<(Digest, pb::Op), DefinitionError>> {
    definition.decoded()
}

/// A range of its message; a position that is not there is 0.
pub fn range_from_message(range: &pb::Range) -> SourceRange {
    let position = |at: Option<pb::Position>| {
        at.map(|at| SourcePosition { line: at.line, character: at.character }).unwrap_or_default()
    };
    SourceRange { start: position(range.start), end: position(range.end) }
}

/// The message of a range.
pub fn range_to_message(range: SourceRange) -> pb::Range {
    let position = |at: SourcePosition| pb::Position { line: at.line, character: at.character };
    pb::Range { start: Some(position(range.start)), end: Some(position(range.end)) }
}
