//! Graphs as the messages of the protocol, for programs that speak it: the feature `pb`.
//!
//! The types come from the schemas, so they change when those or their generator do, whatever the
//! version of this crate says.

use kiln_oci::Digest;
use kiln_pb::pb;

use crate::{Definition, DefinitionError, SourceRange, wire};

impl Definition {
    /// The ops with their digests, in order. An op whose bytes do not decode ends up as an error.
    pub fn ops(&self) -> impl Iterator<Item = Result<(Digest, pb::Op), DefinitionError>> {
        self.decoded()
    }
}

impl From<Definition> for pb::Definition {
    fn from(definition: Definition) -> Self {
        wire::to_message(definition)
    }
}

impl From<pb::Definition> for Definition {
    fn from(message: pb::Definition) -> Self {
        wire::from_message(message)
    }
}

impl From<SourceRange> for pb::Range {
    fn from(range: SourceRange) -> Self {
        wire::range_to_message(range)
    }
}

impl From<pb::Range> for SourceRange {
    fn from(range: pb::Range) -> Self {
        wire::range_from_message(&range)
    }
}
