//! An operation with its inputs and its address.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::{Digest, Platform};

use crate::{Op, Resources};

/// One output of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The [`Vertex::id`].
    pub vertex: Digest,
    /// The number of the output.
    pub index: usize,
}

/// An operation, known to make sense.
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
    /// What it reads.
    pub inputs: Vec<Edge>,
    /// The platform it is for.
    pub platform: Platform,
    /// Run it although the cache has it.
    pub ignore_cache: bool,
    /// Notes of the client, by key.
    pub description: BTreeMap<String, String>,
    /// The group it is shown in.
    pub progress_group: Option<ProgressGroup>,
    /// Limits for its process.
    pub resources: Resources,
    /// Where it comes from in the user's files.
    pub locations: Vec<Location>,
}

/// Vertices that are shown as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressGroup {
    /// What they have in common.
    pub id: String,
    /// What is shown.
    pub name: String,
    /// Does not show the group by itself.
    pub weak: bool,
}

/// A place in a user's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Ranges in it.
    pub ranges: Vec<SourceRange>,
}

/// A user's file, as the frontend passed it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name.
    pub filename: String,
    /// Its text.
    pub data: Vec<u8>,
    /// Its language, for people.
    pub language: String,
}

/// A range of lines (from 1) and characters (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    /// First line.
    pub start_line: i32,
    /// First character in it.
    pub start_character: i32,
    /// Last line.
    pub end_line: i32,
    /// Character after the last in it.
    pub end_character: i32,
}
