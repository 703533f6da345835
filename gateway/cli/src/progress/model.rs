//! What is known about a build: its steps in the order they were first seen to start.
//!
//! [`Progress`] values come in, with the time they were heard; every way of showing them reads the
//! steps. A step is what is shown as one: a vertex, or all vertices of a progress group.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_progress::{Log, Progress, Vertex, VertexStatus, Warning};

use super::intervals::Intervals;
use super::log_lines::LogLines;
use super::sanitize;

/// Everything heard so far.
#[derive(Debug)]
pub(crate) struct Model {
    opened: SystemTime,
    /// How far the builder's clock is behind ours (or ahead).
    skew: Option<Skew>,
    steps: Vec<Step>,
    by_key: BTreeMap<Key, usize>,
    /// Which step shows a vertex.
    by_vertex: BTreeMap<Digest, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Vertex(Digest),
    Group(String),
}

#[derive(Clone, Copy, Debug)]
enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

/// One row: a vertex, or a group of them.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Its name for people, without control characters.
    pub name: String,
    /// Its parts, such as layers being fetched, in order of appearance.
    pub parts: Vec<Part>,
    /// What its processes wrote.
    pub log: LogLines,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    members: BTreeMap<Digest, Member>,
    /// A group of which only weak members were seen is not shown.
    hidden: bool,
}

/// One part of a step.
#[derive(Debug)]
pub(crate) struct Part {
    /// The newest values.
    pub status: VertexStatus,
    /// It changed since a printer looked.
    pub news: bool,
}

#[derive(Debug, Default)]
struct Member {
    cached: bool,
    error: String,
    completed: bool,
    intervals: Intervals,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State<'a> {
    /// It has not started.
    Waiting,
    /// It is at work.
    Running,
    /// Its result was there already.
    Cached,
    /// It ended well.
    Done,
    /// The build was stopped before it ended.
    Canceled,
    /// It failed, with this message.
    Failed(&'a str),
}

impl State<'_> {
    /// Whether the step ended in any way.
    pub(crate) fn is_completed(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

impl Model {
    /// A build of which nothing was heard.
    pub(crate) fn new(opened: SystemTime) -> Self {
        Self {
            opened,
            skew: None,
            steps: Vec::new(),
            by_key: BTreeMap::new(),
            by_vertex: BTreeMap::new(),
        }
    }

    /// Takes in one value, heard at `now`; returns the step it changed.
    pub(crate) fn apply(&mut self, progress: Progress, now: SystemTime) -> Option<usize> {
        match progress {
            Progress::Vertex(vertex) => Some(self.apply_vertex(vertex, now)),
            Progress::Status(status) => {
                let index = *self.by_vertex.get(&status.vertex)?;
                self.steps[index].apply_status(status);
                Some(index)
            }
            Progress::Log(log) => {
                let index = *self.by_vertex.get(&log.vertex)?;
                self.steps[index].apply_log(&log);
                Some(index)
            }
            Progress::Warning(warning) => {
                let index = *self.by_vertex.get(&warning.vertex)?;
                self.steps[index].warnings.push(warning);
                Some(index)
            }
        }
    }

    fn apply_vertex(&mut self, vertex: Vertex, now: SystemTime) -> usize {
        if let (None, Some(started)) = (self.skew, vertex.started) {
            self.skew = Some(match now.duration_since(started) {
                Ok(behind) => Skew::Behind(behind),
                Err(ahead) => Skew::Ahead(ahead.duration()),
            });
        }
        let group = vertex.progress_group.as_ref();
        let key = match group {
            Some(group) => Key::Group(group.id.clone()),
            None => Key::Vertex(vertex.digest.clone()),
        };
        let weak = group.is_some_and(|group| group.weak);
        let name = match group {
            Some(group) => sanitize::name(&group.name),
            None if vertex.name.is_empty() => vertex.digest.to_string(),
            None => sanitize::name(&vertex.name),
        };
        let next = self.steps.len();
        let index = *self.by_key.entry(key).or_insert(next);
        if index == next {
            self.steps.push(Step { hidden: weak, ..Step::default() });
        }
        self.by_vertex.insert(vertex.digest.clone(), index);
        let step = &mut self.steps[index];
        step.hidden &= weak;
        step.name = name;
        step.apply_vertex(vertex);
        index
    }

    /// All steps in order of appearance, those that wait or hide included.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// One step, to take what it holds.
    pub(crate) fn step_mut(&mut self, index: usize) -> &mut Step {
        &mut self.steps[index]
    }

    /// How many vertices ended, and how many there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let members = || self.steps.iter().flat_map(|step| step.members.values());
        (members().filter(|member| member.completed).count(), members().count())
    }

    /// How long the build has been watched.
    pub(crate) fn elapsed(&self, now: SystemTime) -> Duration {
        now.duration_since(self.opened).unwrap_or_default()
    }

    /// Our time on the builder's clock.
    pub(crate) fn builder_time(&self, now: SystemTime) -> SystemTime {
        match self.skew {
            Some(Skew::Behind(by)) => now.checked_sub(by).unwrap_or(now),
            Some(Skew::Ahead(by)) => now.checked_add(by).unwrap_or(now),
            None => now,
        }
    }
}

impl Step {
    fn apply_vertex(&mut self, vertex: Vertex) {
        let member = self.members.entry(vertex.digest).or_default();
        // What is cached may tell only that it ended.
        let Some(started) = vertex.started.or(vertex.completed) else {
            // An announcement that comes again takes nothing back.
            return;
        };
        member.intervals.insert(started, vertex.completed);
        member.completed = vertex.completed.is_some();
        member.cached = vertex.cached;
        member.error = vertex.error;
        if self.state().is_completed() {
            self.log.end_open_lines();
        }
    }

    fn apply_status(&mut self, status: VertexStatus) {
        let known = self.parts.iter_mut().find(|part| {
            part.status.id == status.id
                && (part.status.vertex == status.vertex || part.status.completed.is_none())
        });
        match known {
            Some(part) => *part = Part { status, news: true },
            None => self.parts.push(Part { status, news: true }),
        }
    }

    fn apply_log(&mut self, log: &Log) {
        let started =
            self.members.get(&log.vertex).and_then(|member| member.intervals.last_start());
        let elapsed = started.and_then(|started| log.timestamp.duration_since(started).ok());
        self.log.push(log.stream, elapsed.unwrap_or_default(), &log.data);
        if self.state().is_completed() {
            self.log.end_open_lines();
        }
    }

    /// Forgets what only a printer of lines would take.
    pub(crate) fn settle(&mut self) {
        self.log.take_pending();
        if matches!(self.state(), State::Cached | State::Done) {
            self.log.clear();
        }
    }

    /// Whether it started and is not hidden.
    pub(crate) fn is_shown(&self) -> bool {
        !self.hidden && self.members.values().any(|member| !member.intervals.is_empty())
    }

    /// How far it is.
    pub(crate) fn state(&self) -> State<'_> {
        let started = self.members.values().filter(|member| !member.intervals.is_empty());
        let mut state = State::Waiting;
        for member in started {
            let this = member.state();
            state = match (state, this) {
                (State::Failed(error), _) => State::Failed(error),
                (_, State::Failed(error)) => State::Failed(error),
                (State::Running, _) | (_, State::Running) => State::Running,
                (State::Canceled, _) | (_, State::Canceled) => State::Canceled,
                (State::Waiting, this) => this,
                (State::Cached, State::Cached) => State::Cached,
                _ => State::Done,
            };
        }
        state
    }

    /// How long it has been at work, on the builder's clock.
    pub(crate) fn busy(&self, builder_now: SystemTime) -> Duration {
        let mut all = Intervals::default();
        for member in self.members.values() {
            all.extend(&member.intervals);
        }
        all.busy(builder_now)
    }

    /// The time on the builder's clock of something so long after it last started.
    pub(crate) fn since_start(&self, builder_now: SystemTime) -> Duration {
        let start = self.members.values().filter_map(|member| member.intervals.last_start()).max();
        start.and_then(|start| builder_now.duration_since(start).ok()).unwrap_or_default()
    }
}

impl Member {
    fn state(&self) -> State<'_> {
        if !self.completed {
            return State::Running;
        }
        // The peer tells that a build was stopped by how the message ends.
        match self.error.as_str() {
            "" if self.cached => State::Cached,
            "" => State::Done,
            error if error.ends_with("context canceled") => State::Canceled,
            error => State::Failed(error),
        }
    }
}

impl Part {
    /// How long it has been at work; zero if it did not say when it started.
    pub(crate) fn busy(&self, builder_now: SystemTime) -> Duration {
        let end = self.status.completed.unwrap_or(builder_now);
        let busy = self.status.started.and_then(|started| end.duration_since(started).ok());
        busy.unwrap_or_default()
    }
}
