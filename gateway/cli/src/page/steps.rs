//! The steps of a build, as its progress tells of them.
//!
//! [`Progress`] values come in, in any order and as often as a daemon repeats them; steps with their
//! times, output and warnings go out. What is held is bounded, whatever a build writes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kiln_oci::Digest;
use kiln_progress::{Progress, Vertex, VertexStatus, Warning};

use crate::progress::{Intervals, one_line};

use super::step_log::StepLog;
use crate::output::cut;

/// More steps, parts of a step, or warnings of a step are counted and not shown.
const MAX_STEPS: usize = 5000;
const MAX_PARTS: usize = 100;
const MAX_WARNINGS: usize = 50;
/// Once all output together is longer, little of each further step is kept, in bytes.
const MAX_LOG_BYTES: isize = 6 << 20;
/// A longer name is cut here, in characters.
const NAME_CHARACTERS: usize = 600;

/// The steps of one build.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    list: Vec<Step>,
    by_digest: BTreeMap<Digest, usize>,
    log_bytes: isize,
    left_out: usize,
}

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) digest: Digest,
    pub(super) name: String,
    /// What it is a part of for those who watch.
    pub(super) group: Option<String>,
    pub(super) inputs: Vec<Digest>,
    pub(super) error: String,
    /// When it was at work.
    pub(super) intervals: Intervals,
    pub(super) log: StepLog,
    pub(super) parts: Vec<VertexStatus>,
    pub(super) warnings: Vec<Warning>,
    cached: bool,
    completed: bool,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Failed,
    Canceled,
    Running,
    Ran,
    Cached,
    Waiting,
}

impl State {
    /// The word for it, which is also its class.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Running => "running",
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Waiting => "waiting",
        }
    }
}

impl Steps {
    /// Takes in one value.
    pub(crate) fn apply(&mut self, progress: Progress) {
        match progress {
            Progress::Vertex(vertex) => self.apply_vertex(vertex),
            Progress::Status(status) => {
                if let Some(step) = self.step(&status.vertex) {
                    step.apply_status(status);
                }
            }
            Progress::Log(log) => {
                let short = self.log_bytes > MAX_LOG_BYTES;
                let Some(step) = self.step(&log.vertex) else { return };
                let started = step.intervals.last_start();
                let elapsed = started.and_then(|start| log.timestamp.duration_since(start).ok());
                let elapsed = elapsed.unwrap_or_default();
                let held = step.log.push(log.stream, elapsed, &log.data, short);
                self.log_bytes += held;
            }
            Progress::Warning(warning) => {
                if let Some(step) = self.step(&warning.vertex)
                    && step.warnings.len() < MAX_WARNINGS
                {
                    step.warnings.push(warning);
                }
            }
        }
    }

    fn step(&mut self, digest: &Digest) -> Option<&mut Step> {
        self.by_digest.get(digest).and_then(|index| self.list.get_mut(*index))
    }

    fn apply_vertex(&mut self, vertex: Vertex) {
        let next = self.list.len();
        let index = match self.by_digest.get(&vertex.digest) {
            Some(index) => *index,
            None if next == MAX_STEPS => {
                self.left_out += 1;
                return;
            }
            None => {
                self.by_digest.insert(vertex.digest.clone(), next);
                self.list.push(Step::new(vertex.digest.clone()));
                next
            }
        };
        if let Some(step) = self.list.get_mut(index) {
            step.apply_vertex(vertex);
        }
    }

    /// Ends lines that have not ended, and orders the steps by when they began; those that did not
    /// come last.
    pub(crate) fn finish(&mut self) {
        let began = |step: &Step| step.began().map_or((true, None), |began| (false, Some(began)));
        self.list.sort_by_key(began);
        for (index, step) in self.list.iter_mut().enumerate() {
            step.log.end();
            self.by_digest.insert(step.digest.clone(), index);
        }
    }

    /// All steps.
    pub(super) fn list(&self) -> &[Step] {
        &self.list
    }

    /// Where a step is in the list.
    pub(super) fn index(&self, digest: &Digest) -> Option<usize> {
        self.by_digest.get(digest).copied()
    }

    /// How often a step was heard of that is not in the list.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// How many steps went like this.
    pub(super) fn count(&self, state: State) -> usize {
        self.list.iter().filter(|step| step.state() == state).count()
    }

    /// The last moment that anything tells of.
    pub(super) fn last_moment(&self) -> Option<SystemTime> {
        let moments = self.list.iter().flat_map(|step| step.intervals.iter());
        moments.map(|(start, end)| end.unwrap_or(start)).max()
    }
}

impl Step {
    fn new(digest: Digest) -> Self {
        Self {
            digest,
            name: String::new(),
            group: None,
            inputs: Vec::new(),
            error: String::new(),
            intervals: Intervals::default(),
            log: StepLog::default(),
            parts: Vec::new(),
            warnings: Vec::new(),
            cached: false,
            completed: false,
        }
    }

    fn apply_vertex(&mut self, vertex: Vertex) {
        self.name = cut(&one_line(&vertex.name), NAME_CHARACTERS);
        if self.name.is_empty() {
            self.name = vertex.digest.to_string();
        }
        self.group = vertex.progress_group.map(|group| one_line(&group.name));
        if !vertex.inputs.is_empty() {
            self.inputs = vertex.inputs;
        }
        // What is cached may tell only that it ended; an announcement that comes again takes nothing
        // back.
        let Some(started) = vertex.started.or(vertex.completed) else { return };
        self.intervals.insert(started, vertex.completed);
        self.completed = vertex.completed.is_some();
        self.cached = vertex.cached;
        self.error = vertex.error;
    }

    fn apply_status(&mut self, status: VertexStatus) {
        let room = self.parts.len() < MAX_PARTS;
        match self.parts.iter_mut().find(|part| part.id == status.id) {
            Some(part) => *part = status,
            None if room => self.parts.push(status),
            None => {}
        }
    }

    /// How it went.
    pub(super) fn state(&self) -> State {
        match self.error.as_str() {
            _ if self.intervals.is_empty() => State::Waiting,
            _ if !self.completed => State::Running,
            "" if self.cached => State::Cached,
            "" => State::Ran,
            // BuildKit says by the end of the message that a build was stopped.
            error if error.ends_with("context canceled") => State::Canceled,
            _ => State::Failed,
        }
    }

    /// When it began, if it did.
    pub(super) fn began(&self) -> Option<SystemTime> {
        self.intervals.iter().map(|(start, _)| start).next()
    }

    /// When it ended, or `now` if it has not.
    pub(super) fn ended(&self, now: SystemTime) -> SystemTime {
        let ends = self.intervals.iter().map(|(start, end)| end.unwrap_or(now).max(start));
        ends.max().unwrap_or(now)
    }
}
