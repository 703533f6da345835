//! The values: one thing that happened to one vertex, with its time.

use std::time::SystemTime;

use bytes::Bytes;
use kiln_oci::Digest;
use kiln_pb::pb;

/// One thing that happened to a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A vertex exists, started or completed. The same vertex may be told many times; later values
    /// replace earlier ones.
    Vertex(Vertex),
    /// A part of a vertex made progress, such as one layer of a pull.
    Status(VertexStatus),
    /// A process wrote something.
    Log(Log),
    /// Something the user should know although the build goes on.
    Warning(Warning),
}

/// A vertex and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its address.
    pub digest: Digest,
    /// The vertices it reads.
    pub inputs: Vec<Digest>,
    /// Its name for people.
    pub name: String,
    /// The result came from the cache.
    pub cached: bool,
    /// When it started, if it has.
    pub started: Option<SystemTime>,
    /// When it ended, if it has.
    pub completed: Option<SystemTime>,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// The group it is shown in.
    pub progress_group: Option<pb::ProgressGroup>,
}

impl Vertex {
    /// A vertex that has not started.
    pub fn new(digest: Digest, name: impl Into<String>) -> Self {
        Self {
            digest,
            inputs: Vec::new(),
            name: name.into(),
            cached: false,
            started: None,
            completed: None,
            error: String::new(),
            progress_group: None,
        }
    }
}

/// The state of one part of a vertex. Values with the same vertex and id replace each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexStatus {
    /// Names the part within the vertex; shown to people.
    pub id: String,
    /// The vertex.
    pub vertex: Digest,
    /// A longer name, often empty.
    pub name: String,
    /// How much is done, in bytes where `total` is bytes.
    pub current: u64,
    /// How much there is to do; 0 if unknown.
    pub total: u64,
    /// When this was true.
    pub timestamp: SystemTime,
    /// When the part started.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub completed: Option<SystemTime>,
}

/// Which stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Output of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The vertex whose process it is.
    pub vertex: Digest,
    /// When it was read.
    pub timestamp: SystemTime,
    /// The stream.
    pub stream: Stream,
    /// The bytes as written, not cut at lines.
    pub data: Bytes,
}

/// Something the user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The vertex it belongs to.
    pub vertex: Digest,
    /// 1 is the most important.
    pub level: i64,
    /// One line.
    pub short: String,
    /// More lines.
    pub detail: Vec<String>,
    /// Where to read more.
    pub url: String,
    /// The user's file.
    pub info: Option<pb::SourceInfo>,
    /// Places in it.
    pub ranges: Vec<pb::Range>,
}

impl Warning {
    /// One of the most important, about no place in a file.
    pub fn new(vertex: Digest, short: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            vertex,
            level: 1,
            short: short.into(),
            detail: vec![detail.into()],
            url: String::new(),
            info: None,
            ranges: Vec::new(),
        }
    }
}
