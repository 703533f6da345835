//! What is recorded of a build: its steps, with everything their keys are made of.

use std::collections::BTreeSet;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::explanation::{FileChange, Place};
use crate::fact::Fact;

/// The media type of a record, as JSON.
pub const RECORD_TYPE: &str = "application/vnd.kiln.steps.v1+json";

/// All steps of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuildRecord {
    /// The same for builds of the same directories or addresses; empty if that is not known.
    pub project: String,
    /// The names of the build arguments that the client gave a value.
    pub build_args: BTreeSet<String>,
    /// The caches that were imported.
    pub caches: Vec<CacheRecord>,
    /// The steps, each after those that it reads.
    pub steps: Vec<StepRecord>,
}

/// A cache that a build imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheRecord {
    /// What people call it.
    pub name: String,
    /// The keys of the operations it has records of, without their inputs: digests.
    pub operations: BTreeSet<String>,
    /// It could not be read, or was not asked.
    pub unread: bool,
    /// There are more operations than are recorded.
    pub cut: bool,
}

/// One step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The digest of its op, as clients know it.
    pub digest: Digest,
    /// Its name for people.
    pub name: String,
    /// What kind of op it is.
    pub kind: StepKind,
    /// The digests of the ways it is keyed, without its inputs; empty if it was never asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Its key means something within one session only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub session: bool,
    /// What its keys are made of.
    pub facts: Vec<Fact>,
    /// What it reads, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputRecord>,
    /// What became of it.
    pub outcome: Outcome,
    /// It was told to run whatever the cache has.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignores_cache: bool,
    /// The cache had a record of it, but no result that could be loaded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
    /// Where it comes from in the user's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Its result compared with an earlier one for the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
    /// What the imported caches know of it, in the order of [`BuildRecord::caches`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheView>,
}

/// The kinds of ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Something from outside.
    Source,
    /// A directory of the client.
    Local,
    /// A process.
    Exec,
    /// File actions.
    File,
    /// Another operation.
    Other,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Ran,
    /// It ran, and failed.
    Failed,
    /// It came from the cache, or was not needed.
    Cached,
}

/// One input of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InputRecord {
    /// The number of the step in the record.
    pub step: usize,
    /// Which of its outputs.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: usize,
    /// What is read of it; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The digest of what was read, if the step is keyed by that and it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// The files that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListingRecord>,
}

/// Where the list of files is that were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListingRecord {
    /// Here, in base64.
    Here(String),
    /// In a blob of the history.
    Blob(Digest),
}

/// What an imported cache knows of a step that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheView {
    /// It has records of the same operation, on whatever inputs.
    pub operation: bool,
    /// For each input, whether something there reads it in the same way.
    pub linked: Vec<bool>,
}

/// The result of a step compared with an earlier one for the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rerun {
    /// The files that differ; none if the results are the same.
    pub files: Vec<FileChange>,
    /// So many more differ.
    pub more: usize,
    /// There was more to compare than is compared.
    pub cut: bool,
}

impl StepRecord {
    /// Whether the step ran and its result or its absence has to be explained.
    pub fn is_run(&self) -> bool {
        self.outcome != Outcome::Cached && !self.session
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
