//! An operation with its inputs and its address.

use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use prost::bytes::Bytes;

use crate::{Location, Metadata, Op};

/// One output of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The [`Vertex::id`].
    pub vertex: Digest,
    /// The number of the output.
    pub index: usize,
}

/// An operation, known to make sense, with everything that arrived with it.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// What makes two vertices the same piece of work: the digest, and where that is not enough
    /// (cache ignored, files of one session) more than that.
    pub id: Digest,
    /// The digest of the operation's bytes, as the client knows it.
    pub digest: Digest,
    /// The name for people.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// The operation as it arrived.
    pub arrived: Arrived,
    /// What it reads.
    pub inputs: Vec<Edge>,
    /// The platform it is for: the one it names, else the daemon's; normalized. The digest is that of
    /// the bytes and does not change with it.
    pub platform: Platform,
    /// Which workers may do it.
    pub constraints: Constraints,
    /// What is said about it beside what it does.
    pub metadata: Metadata,
    /// Where it comes from in the user's files.
    pub locations: Vec<Location>,
}

/// An operation as it arrived: cache keys are taken over fields that have no meaning here.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// The bytes that the digest is taken over.
    pub bytes: Bytes,
    /// The message they are, but with the devices that it may have in the place of those it asks for.
    pub op: pb::Op,
}

/// Which workers may do an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Conditions on a worker's labels, as the client wrote them.
    pub filter: Vec<String>,
}
