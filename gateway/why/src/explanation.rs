//! What comes out: of each step that ran, why.

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::fact::What;

/// The media type of an explanation, as JSON.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.why.v1+json";

/// Why the steps of a build ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The build.
    pub build: String,
    /// When it began, in nanoseconds since 1970.
    pub started: i64,
    /// How many steps it had.
    pub total: u64,
    /// How many of them came from the cache.
    pub cached: u64,
    /// The steps that ran, each after those that it reads. Directories of the client, which are asked
    /// for every time, are not among them.
    pub steps: Vec<Explained>,
    /// The caches that were imported and could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread_caches: Vec<String>,
}

/// Why one step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// The digest of its op.
    pub digest: Digest,
    /// It failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Where it stands in the user's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Why it ran.
    pub cause: Cause,
    /// The names of the steps that it reads and that ran, because of which it had to run, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What differs from the nearest earlier step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// The nearest earlier step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<Compared>,
    /// Its inputs were those of an earlier run, and its result was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_reproducible: Option<NotReproducible>,
    /// What the imported caches have of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<InCache>,
}

/// Why a step ran, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Something differs from the nearest earlier step: see the differences.
    Changed,
    /// A step that it reads ran, and nothing else differs.
    Because,
    /// No earlier build had such a step.
    New,
    /// It was told to run whatever the cache has (`no-cache`).
    NoCache,
    /// The same step ran before, and its result is no longer in the cache.
    Gone,
    /// The same step ran before, and failed.
    FailedBefore,
    /// It reads a directory of the client as a whole, which has no key beyond its build.
    Session,
    /// What differs is not recorded.
    Unknown,
}

/// Where a step stands in a file of the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The first line, counted from one.
    pub line: i32,
}

/// An earlier step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The build.
    pub build: String,
    /// When that began, in nanoseconds since 1970.
    pub started: i64,
    /// The name of the step there, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Difference {
    /// A part of what the step does, or of a source or step beneath it that did not run.
    #[serde(rename_all = "camelCase")]
    Fact {
        /// What kind of thing.
        what: What,
        /// Which one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
        /// What it was; nothing if it was not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        /// What it is; nothing if it is not there any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// The step beneath that it belongs to, if it is not the step's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// A file that is read.
    File {
        /// The file and what differs.
        #[serde(flatten)]
        change: FileChange,
        /// What it is read from.
        of: String,
    },
    /// More files than are named.
    MoreFiles {
        /// How many.
        count: usize,
        /// What they are read from.
        of: String,
    },
    /// What is read of an input, of which no list of files is recorded.
    Content {
        /// The input.
        of: String,
        /// The digest of what was read.
        before: Digest,
        /// The digest of what is read now.
        after: Digest,
    },
    /// An input is made by another step than before.
    #[serde(rename_all = "camelCase")]
    Input {
        /// The name of the step that made it; nothing if there was no such input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        /// The name of the step that makes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
}

/// How one file differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// The file.
    pub path: String,
    /// In which ways, in words such as `content`, `mode` and `owner`; `new` and `gone` stand alone.
    pub changed: Vec<String>,
    /// What it was, in the same order, where that can be said in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The digest of its attributes and bytes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_digest: Option<Digest>,
    /// That digest now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_digest: Option<Digest>,
}

/// How the result of a step differs from that of an earlier run with the same inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReproducible {
    /// The files that differ, as far as they are known.
    pub files: Vec<FileChange>,
    /// So many more differ.
    #[serde(default)]
    pub more: usize,
}

/// What an imported cache has of a step that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InCache {
    /// The cache.
    pub cache: String,
    /// It has the same operation on other inputs.
    pub operation: bool,
    /// The inputs of which it knows nothing, by name, if it has the operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_inputs: Vec<String>,
    /// The nearest step of an earlier build that the cache has, if the history knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Compared>,
    /// What differs from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}
