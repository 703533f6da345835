//! What the driver holds of a vertex: its operator, its results, and who watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kiln_graph::Vertex;
use kiln_oci::Digest;
use kiln_progress::{FanOut, Vertex as Shown};
use kiln_solver::JobId;

use crate::{JobContext, JobOptions, Operator, Output, Sessions};

/// What is held of a vertex.
pub(crate) struct Held<R> {
    pub(crate) vertex: Arc<Vertex>,
    pub(crate) operator: Option<Arc<dyn Operator<R>>>,
    pub(crate) results: BTreeMap<usize, Output<R>>,
    /// What was seen of inputs that were looked into, by their number.
    pub(crate) listings: BTreeMap<usize, Bytes>,
    /// It ran, whether or not it came to an end.
    pub(crate) has_run: bool,
    fan: FanOut,
    sessions: Sessions,
    /// The jobs that have it.
    jobs: Vec<JobId>,
    /// Which version of BuildKit's behaviour each of them wants.
    compatibility: BTreeMap<JobId, i64>,
    /// The digests of its inputs, as those who watch know them.
    inputs: Vec<Digest>,
    started: Option<SystemTime>,
}

impl<R> Held<R> {
    /// A vertex that has not started, on inputs that those who watch know by these digests.
    pub(crate) fn new(vertex: Arc<Vertex>, inputs: Vec<Digest>) -> Self {
        let held = Self {
            vertex,
            operator: None,
            results: BTreeMap::new(),
            listings: BTreeMap::new(),
            has_run: false,
            fan: FanOut::default(),
            sessions: Sessions::default(),
            jobs: Vec::new(),
            compatibility: BTreeMap::new(),
            inputs,
            started: None,
        };
        held.fan.sender().vertex(held.shown());
        held
    }

    /// Lets a job watch, and its session be used.
    pub(crate) fn join(&mut self, job: JobId, options: &JobOptions) {
        self.jobs.push(job);
        self.compatibility.insert(job, options.compatibility);
        self.sessions.add(job, &options.session);
        self.fan.add(job.0, options.progress.clone());
    }

    /// Takes that back.
    pub(crate) fn leave(&mut self, job: JobId) {
        self.jobs.retain(|other| *other != job);
        self.compatibility.remove(&job);
        self.sessions.remove(job);
        self.fan.remove(job.0);
    }

    /// The jobs that have it.
    pub(crate) fn jobs(&self) -> &[JobId] {
        &self.jobs
    }

    /// What its operator may use.
    pub(crate) fn context(&self) -> JobContext {
        JobContext {
            vertex: self.vertex.digest.clone(),
            progress: self.fan.sender(),
            sessions: self.sessions.clone(),
            compatibility: self.compatibility(),
        }
    }

    /// The version that all jobs want. Without any job it does not matter.
    fn compatibility(&self) -> Option<i64> {
        let mut versions = self.compatibility.values();
        let first = versions.next().copied().unwrap_or_default();
        versions.all(|version| *version == first).then_some(first)
    }

    /// Shows that it runs.
    pub(crate) fn show_start(&mut self) {
        let now = SystemTime::now();
        self.has_run = true;
        self.started = Some(now);
        self.fan.sender().vertex(Shown { started: Some(now), ..self.shown() });
    }

    /// Shows that it ended, with an error unless that is empty.
    pub(crate) fn show_end(&mut self, error: &str) {
        let (started, completed) = (self.started.take(), Some(SystemTime::now()));
        let shown = Shown { started, completed, error: error.to_owned(), ..self.shown() };
        self.fan.sender().vertex(shown);
    }

    /// Shows a failure. It may come before the vertex ran; then it starts and ends at once.
    pub(crate) fn show_failure(&mut self, error: &str) {
        self.started.get_or_insert_with(SystemTime::now);
        self.show_end(error);
    }

    /// Shows that it need not run.
    pub(crate) fn show_cached(&self) {
        let now = Some(SystemTime::now());
        let shown = Shown { cached: true, started: now, completed: now, ..self.shown() };
        self.fan.sender().vertex(shown);
    }

    fn shown(&self) -> Shown {
        let group = self.vertex.metadata.progress_group.as_ref();
        Shown {
            progress_group: group.map(|group| {
                kiln_progress::wire::progress_group(&group.id, &group.name, group.weak)
            }),
            inputs: self.inputs.clone(),
            ..Shown::new(self.vertex.digest.clone(), self.vertex.name.clone())
        }
    }
}
