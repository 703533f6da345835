//! What is remembered of a build: its request when it begins, and what became of it.
//!
//! Requests and outcomes come in, records for [`kiln_history`] go out. What a record says is decided
//! by functions that do nothing else; [`Recording`] takes care that every build that begins also
//! ends, even when its client goes away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use kiln_bridge::BuildSteps;
use kiln_exporters::ExportedImage;
use kiln_history::{Document, Ended, Running, bounded, without_credentials};
use kiln_progress::wire::timestamp;
use kiln_remotecache::without_secrets;
use kiln_why::RECORD_TYPE;
use kiln_wire::proto::control::{
    BuildHistoryRecord, BuildResultInfo, Descriptor, Exporter, SolveRequest,
};
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::Builder;
use crate::builds::BuildProgress;
use crate::metrics::Steps;
use crate::pipeline::Built;
use crate::traces::{BuildTrace, Traces};

/// How long is waited for the last progress of a build that has ended.
const LAST_PROGRESS: Duration = Duration::from_secs(10);

/// The record of a build that begins.
pub(crate) fn record_of(request: &SolveRequest, now: SystemTime) -> BuildHistoryRecord {
    let attributes = request.frontend_attrs.clone().into_iter();
    let attributes = attributes.map(|(key, value)| match key.as_str() {
        "cache-imports" => (key, without_secrets(&value)),
        _ => (key, without_credentials(value)),
    });
    let mut exporters = request.exporters.clone();
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(Exporter {
            r#type: request.exporter_deprecated.clone(),
            attrs: request.exporter_attrs_deprecated.clone(),
        });
    }
    for exporter in &mut exporters {
        let attributes = std::mem::take(&mut exporter.attrs);
        exporter.attrs = bounded(attributes).into_iter().collect();
    }
    BuildHistoryRecord {
        r#ref: request.r#ref.clone(),
        frontend: request.frontend.clone(),
        frontend_attrs: bounded(attributes).into_iter().collect(),
        exporters,
        created_at: Some(timestamp(now)),
        ..BuildHistoryRecord::default()
    }
}

/// What became of a build.
struct Outcome {
    at: SystemTime,
    built: Result<Built, RichStatus>,
}

/// Adds to a record what became of its build.
fn complete(record: &mut BuildHistoryRecord, outcome: &Outcome, steps: Steps) {
    let number = |steps: u64| i32::try_from(steps).unwrap_or(i32::MAX);
    record.completed_at = Some(timestamp(outcome.at));
    record.num_total_steps = number(steps.total);
    record.num_completed_steps = number(steps.completed);
    record.num_cached_steps = number(steps.cached);
    record.num_warnings = number(steps.warnings);
    let Ok(built) = &outcome.built else { return };
    record.exporter_response =
        bounded(built.response.exporter_response.clone()).into_iter().collect();
    if let Some(first) = built.images.values().next() {
        let images = built.images.iter();
        let results = images
            .filter_map(|(number, image)| Some((i64::try_from(*number).ok()?, descriptor(image))));
        record.result = Some(BuildResultInfo {
            result_deprecated: Some(descriptor(first)),
            results: results.collect(),
            ..BuildResultInfo::default()
        });
    }
}

fn descriptor(image: &ExportedImage) -> Descriptor {
    Descriptor {
        media_type: image.root.media_type.clone(),
        digest: image.root.digest.to_string(),
        size: i64::try_from(image.root.size).unwrap_or(i64::MAX),
        annotations: image.root.annotations.clone().into_iter().collect(),
    }
}

/// What is known of the steps of a build, once it has run; empty if nothing ran. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Option<BuildSteps>>>);

impl Noted {
    /// Notes it.
    pub(crate) fn set(&self, steps: BuildSteps) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(steps);
    }

    fn take(&self) -> Option<BuildSteps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A build that runs, for the history.
pub(crate) struct Recording {
    /// Empty once it has ended.
    running: Option<(Running, BuildHistoryRecord)>,
    build: Arc<BuildProgress>,
    noted: Noted,
    builder: Builder,
    /// The trace that it is part of; empty once it has ended.
    trace: Option<BuildTrace>,
}

impl Recording {
    /// Listeners hear that a build begins, whose progress is that of `build`.
    pub(crate) fn begin(
        builder: &Builder,
        record: BuildHistoryRecord,
        build: Arc<BuildProgress>,
        noted: Noted,
        trace: Option<BuildTrace>,
    ) -> Self {
        let running = Some((builder.parts.history.begin(record.clone()), record));
        Self { running, build, noted, builder: builder.clone(), trace }
    }

    /// The build has ended. Nothing is waited for.
    pub(crate) fn ended(mut self, built: Result<Built, RichStatus>) {
        self.finish(built);
    }

    fn finish(&mut self, built: Result<Built, RichStatus>) {
        let Some((running, mut record)) = self.running.take() else { return };
        let (outcome, build) = (Outcome { at: SystemTime::now(), built }, Arc::clone(&self.build));
        let (steps, cache) = (self.noted.take(), self.builder.cache());
        let traces: Traces = self.builder.parts.traces.clone();
        let trace = self.trace.take();
        let parent = trace.as_ref().map(|trace| trace.parent);
        let id = record.r#ref.clone();
        running.finish(async move {
            tokio::time::timeout(LAST_PROGRESS, build.ended()).await.ok();
            complete(&mut record, &outcome, build.steps());
            let (mut documents, error) = match outcome.built {
                Ok(built) => {
                    let documents = built.images.into_values().flat_map(|image| image.documents);
                    let mut documents: Vec<Document> =
                        documents.map(|document| Document { bytes: document.bytes }).collect();
                    if let Some(origin) = built.origin {
                        // Of a large graph it is long, and others are not to wait for it.
                        let mut said = record.clone();
                        let work = move || (origin.add_to(&mut said), said);
                        if let Ok((more, said)) = tokio::task::spawn_blocking(work).await {
                            documents.extend(more);
                            record = said;
                        }
                    }
                    (documents, None)
                }
                Err(status) => (Vec::new(), Some(status.to_rpc())),
            };
            let mut attachments = BTreeMap::new();
            if let Some(steps) = steps {
                let (record, listings) = steps.record(&cache).await;
                documents.extend(listings.into_iter().map(|bytes| Document { bytes }));
                if let Ok(text) = serde_json::to_vec(&record) {
                    attachments.insert(RECORD_TYPE.to_owned(), text.into());
                }
            }
            let log = build.messages();
            traces.send(|| {
                let error = error.clone();
                let record = BuildHistoryRecord { error, ..record.clone() };
                kiln_history::spans(&record, log.iter().map(|message| &**message), parent)
            });
            Ended { record, log, error, documents, attachments, parent }
        });
        if let Some(trace) = trace {
            trace.ended(self.builder.parts.history.clone(), id);
        }
    }
}

impl Drop for Recording {
    /// Its client has gone away.
    fn drop(&mut self) {
        self.finish(Err(RichStatus::new(Code::Cancelled, "context canceled")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_was_asked_for_without_passwords() {
        let mut request = SolveRequest {
            r#ref: "a".into(),
            frontend: "dockerfile.v0".into(),
            session: "secret".into(),
            exporter_deprecated: "local".into(),
            ..SolveRequest::default()
        };
        let context = "https://me:token@example.com/a.git".to_owned();
        request.frontend_attrs.insert("context".into(), context);
        let imports = r#"[{"Type":"gha","Attrs":{"scope":"s","token":"secret"}}]"#.to_owned();
        request.frontend_attrs.insert("cache-imports".into(), imports);
        let record = record_of(&request, SystemTime::UNIX_EPOCH);
        let imports = &record.frontend_attrs["cache-imports"];
        assert!(imports.contains("scope") && !imports.contains("secret"), "{imports}");
        assert_eq!(record.frontend_attrs["context"], "https://xxxxx:xxxxx@example.com/a.git");
        assert_eq!(record.exporters[0].r#type, "local");
        assert!(record.created_at.is_some() && record.completed_at.is_none());
    }

    #[test]
    fn a_record_of_a_failed_build_has_its_steps_and_no_result() {
        let built = Err(RichStatus::new(Code::Unknown, "exit code: 1"));
        let outcome = Outcome { at: SystemTime::UNIX_EPOCH, built };
        let steps = Steps { total: 4, completed: 3, cached: 2, warnings: 1 };
        let mut record = BuildHistoryRecord::default();
        complete(&mut record, &outcome, steps);
        assert_eq!((record.num_total_steps, record.num_completed_steps), (4, 3));
        assert_eq!((record.num_cached_steps, record.num_warnings), (2, 1));
        assert!(record.result.is_none() && record.completed_at.is_some());
    }
}
