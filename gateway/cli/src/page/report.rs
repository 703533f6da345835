//! All that a page shows, as values: a record with everything that belongs to it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kiln_progress::wire::system_time;
use kiln_wire::proto::control::BuildHistoryRecord;
use kiln_wire::status::{Detail, RichStatus, Source};

use crate::failure;
use crate::records::status;

use super::{Output, Provenance, Steps};

/// A build, as far as it is known.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the daemon remembers.
    pub(crate) record: BuildHistoryRecord,
    /// What it did; [`Steps::finish`] was called.
    pub(crate) steps: Steps,
    /// Why it failed, if it did.
    pub(crate) failure: Option<Failure>,
    /// What came of it.
    pub(crate) outputs: Vec<Output>,
    /// What is said of where its results come from.
    pub(crate) provenance: Vec<Provenance>,
    /// What could not be read, for people.
    pub(crate) missing: Vec<String>,
    /// When the report was made.
    pub(crate) made: SystemTime,
}

/// Why a build failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    /// The message.
    pub(crate) message: String,
    /// Which step failed, if that is said.
    pub(crate) vertex: Option<String>,
    /// Where in the user's files the mistake is.
    pub(crate) sources: Vec<Source>,
    /// What else a frontend has to say.
    pub(crate) more: Vec<String>,
}

impl Failure {
    /// What a status says.
    pub(crate) fn of(status: &RichStatus) -> Self {
        let vertex = status.details.iter().find_map(|detail| match detail {
            Detail::Vertex(digest) => Some(digest.clone()),
            _ => None,
        });
        Self {
            message: status.message.clone(),
            vertex,
            sources: status.sources().cloned().collect(),
            more: status.details.iter().filter_map(failure::also).collect(),
        }
    }
}

impl Report {
    /// What it is called: what it was built from, as far as that is asked for by name.
    pub(super) fn title(&self) -> String {
        let attribute = |name: &str| {
            self.record.frontend_attrs.get(name).map(String::as_str).filter(|text| !text.is_empty())
        };
        let target = attribute("target").map(|target| format!("target {target}"));
        let context = attribute("context").or(attribute("vcs:source"));
        let file = attribute("filename");
        let words: Vec<String> = [target, context.map(str::to_owned), file.map(str::to_owned)]
            .into_iter()
            .flatten()
            .collect();
        match words.is_empty() {
            true => format!("build {}", self.record.r#ref),
            false => words.join(" · "),
        }
    }

    /// `running`, `completed`, `canceled` or `error`.
    pub(super) fn status(&self) -> &'static str {
        status(&self.record)
    }

    /// When it began.
    pub(super) fn began(&self) -> SystemTime {
        let first = self.steps.list().first().and_then(|step| step.began());
        let created = self.record.created_at.map(system_time);
        let both = [created, first].into_iter().flatten();
        both.min().unwrap_or(self.made)
    }

    /// When it ended, or how far it was when the report was made. A daemon whose clock is ahead is
    /// believed.
    pub(super) fn ended(&self) -> SystemTime {
        match self.record.completed_at.map(system_time) {
            Some(completed) => {
                self.steps.last_moment().map_or(completed, |last| last.max(completed))
            }
            None => self.steps.last_moment().map_or(self.made, |last| last.max(self.made)),
        }
    }

    /// What was asked for, by name; secrets are never in it.
    pub(super) fn options(&self) -> BTreeMap<&str, &str> {
        let attributes = self.record.frontend_attrs.iter();
        attributes.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}
