//! Builds that run, and those that have ended and are being written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kiln_pb::control::{BuildHistoryRecord, StatusResponse};
use kiln_pb::rpc;

use crate::History;
use crate::trace::TraceParent;

/// What is remembered of a build that has ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// The record, without the descriptors of what follows here.
    pub record: BuildHistoryRecord,
    /// All progress.
    pub log: Vec<Arc<StatusResponse>>,
    /// Why it failed, with all details.
    pub error: Option<rpc::Status>,
    /// What the descriptors of results in the record stand for.
    pub documents: Vec<Document>,
    /// What is remembered beside the record, by media type.
    pub attachments: BTreeMap<String, Bytes>,
    /// The span of its client that it is below.
    pub parent: Option<TraceParent>,
}

/// A manifest, a config, or the like.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its content.
    pub bytes: Bytes,
}

/// A build that runs, for listeners. If it is dropped without an end, it was never there.
#[derive(Debug)]
pub struct Running {
    pub(crate) history: History,
    pub(crate) number: u64,
}

impl Running {
    /// The build has ended. What is to be remembered is written in the background, once it is known;
    /// whoever asks for the builds that have ended waits for that.
    pub fn finish(self, ended: impl Future<Output = Ended> + Send + 'static) {
        self.history.set_ended(self.number);
        // In the last moments of a process there is nothing that would write.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { self.history.write(self.number, ended.await).await });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.history.leave(self.number);
    }
}

/// The builds that run, by number: an id may be used again while its first build is written down.
#[derive(Debug, Default)]
pub(crate) struct Table {
    next: u64,
    builds: BTreeMap<u64, Build>,
}

#[derive(Clone, Debug)]
struct Build {
    record: BuildHistoryRecord,
    ended: bool,
    forgotten: bool,
}

impl Table {
    pub(crate) fn add(&mut self, record: BuildHistoryRecord) -> u64 {
        self.next += 1;
        self.builds.insert(self.next, Build { record, ended: false, forgotten: false });
        self.next
    }

    pub(crate) fn set_ended(&mut self, number: u64) {
        if let Some(build) = self.builds.get_mut(&number) {
            build.ended = true;
        }
    }

    /// Removes a build. Returns its id, and whether it is not to be remembered.
    pub(crate) fn remove(&mut self, number: u64) -> Option<(String, bool)> {
        let build = self.builds.remove(&number)?;
        Some((build.record.r#ref, build.forgotten))
    }

    /// Has builds that run under an id not be remembered. Returns whether there are any.
    pub(crate) fn forget(&mut self, id: &str) -> bool {
        let running = self.builds.values_mut();
        let running = running.filter(|build| build.record.r#ref == id && !build.ended);
        running.map(|build| build.forgotten = true).count() > 0
    }

    pub(crate) fn is_forgotten(&self, number: u64) -> bool {
        self.builds.get(&number).is_some_and(|build| build.forgotten)
    }

    /// The builds that are being written down; all, or those of an id.
    pub(crate) fn ended(&self, id: Option<&str>) -> Vec<u64> {
        let builds = self.builds.iter().filter(|(_, build)| build.ended);
        let builds = builds.filter(|(_, build)| id.is_none_or(|id| build.record.r#ref == id));
        builds.map(|(number, _)| *number).collect()
    }

    pub(crate) fn has_any(&self, numbers: &[u64]) -> bool {
        numbers.iter().any(|number| self.builds.contains_key(number))
    }

    /// The records of all builds that may be shown.
    pub(crate) fn records(&self) -> impl Iterator<Item = &BuildHistoryRecord> {
        self.builds.values().filter(|build| !build.forgotten).map(|build| &build.record)
    }
}
