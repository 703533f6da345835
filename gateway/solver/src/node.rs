//! What is known of one vertex, of its inputs and of its outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_cache::{CacheKey, Sum};
use kiln_graph::Vertex;
use kiln_keys::{CacheMap, Dep};
use kiln_oci::Digest;

use crate::arena::NodeId;
use crate::level::Level;
use crate::merge::Signature;
use crate::search::{InputView, Search};
use crate::{Candidate, JobId, RequestId, TaskId};

/// One output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    pub(crate) output: usize,
}

/// A vertex that some job has.
#[derive(Debug)]
pub(crate) struct Node<E> {
    pub(crate) vertex: Arc<Vertex>,
    /// Greater than that of everything it reads, so that two nodes of which one is not greater
    /// cannot wait for each other.
    pub(crate) height: u32,
    /// Who has it, ascending. Never empty, but for a node that is about to go.
    pub(crate) jobs: Vec<JobId>,
    /// How many jobs have left it.
    pub(crate) departures: u64,
    pub(crate) life: Life<E>,
    pub(crate) mapping: Mapping,
    pub(crate) inputs: Vec<Input>,
    /// Inputs that cannot be used yet.
    pub(crate) unready: usize,
    pub(crate) outputs: BTreeMap<usize, Output>,
    pub(crate) run: Run,
    /// Outputs that need it to run.
    pub(crate) runs_for: usize,
    /// Nodes that turned out to be the same.
    pub(crate) same: Vec<NodeId>,
    /// Under which signatures it is known to others, by what stands for its inputs.
    pub(crate) by_target: Vec<Signature>,
    /// The same, by what is in them.
    pub(crate) by_content: Option<Signature>,
    /// Those who watch were told that it runs, or need not.
    pub(crate) is_shown: bool,
    /// It stands in a queue.
    pub(crate) is_awake: bool,
    /// Inputs to look at, because they changed.
    pub(crate) changed: Vec<u32>,
    /// Outputs to look at, because something else is asked of them or known.
    pub(crate) stirred: BTreeSet<usize>,
}

/// Whether a node goes on.
#[derive(Debug)]
pub(crate) enum Life<E> {
    /// It does.
    Live,
    /// It failed; jobs that had it then are answered with the error, others try again.
    Failed {
        /// Why.
        error: E,
        /// Who knows.
        jobs: Vec<JobId>,
    },
    /// It is the same as another node, which does everything in its place.
    Same(NodeId),
}

/// How a node is keyed.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    /// The maps that are known. Only nodes without inputs have more than one.
    pub(crate) maps: Vec<Arc<CacheMap>>,
    /// There are no others.
    pub(crate) is_complete: bool,
    /// The next one is being asked for.
    pub(crate) task: Option<TaskId>,
}

impl Mapping {
    /// The map of a node with inputs.
    pub(crate) fn map(&self) -> Option<&Arc<CacheMap>> {
        self.maps.first()
    }

    /// How an input counts.
    pub(crate) fn dep(&self, input: u32) -> Option<&Dep> {
        self.map()?.deps.get(input as usize)
    }

    /// Which part of an input is read, as links have it.
    pub(crate) fn selector(&self, input: u32) -> Option<Sum> {
        self.dep(input)?.selector.as_ref().map(|selector| Sum::of(&selector.digest))
    }

    /// Whether the content of an input may stand for it.
    pub(crate) fn by_content(&self, input: u32) -> bool {
        self.dep(input).is_some_and(|dep| dep.content.is_some())
    }

    /// Whether something is to be done with an input before it is used.
    pub(crate) fn needs_preparation(&self, input: u32) -> bool {
        self.dep(input).is_some_and(|dep| dep.content.is_some() || dep.preprocess)
    }
}

/// An input of a node.
#[derive(Debug)]
pub(crate) struct Input {
    /// What stands for it.
    pub(crate) target: Target,
    /// How much of that is asked now.
    pub(crate) asks: Level,
    /// How much of what is known of it was taken in.
    pub(crate) seen: Level,
    pub(crate) preparation: Preparation,
    pub(crate) is_ready: bool,
}

/// Whether an input can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Nothing was done yet.
    #[default]
    None,
    /// It is being prepared.
    Busy(TaskId),
    /// It is prepared; with the digest of its content, if that was asked for.
    Done(Option<Digest>),
}

/// Whether a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// It did not.
    No,
    /// It does.
    Busy(TaskId),
    /// It did; all of its outputs are complete.
    Done,
}

/// One output of a node: an edge of the graph.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Inputs of other nodes that ask something of it.
    pub(crate) readers: BTreeSet<(NodeId, u32)>,
    /// How many of them ask for each level.
    asks: [u32; 3],
    pub(crate) requests: Vec<(RequestId, JobId)>,
    /// How much is known of it.
    pub(crate) known: Level,
    /// The records that stand for it, in whatever cache; they may be looked up.
    pub(crate) keys: Vec<CacheKey>,
    /// The records of the main cache that stand for it.
    pub(crate) main: Vec<CacheKey>,
    /// The records under which it is saved, or would be: none if it means something within a session
    /// only. `None` until that is worked out; then they are in the main cache, or on the way there.
    pub(crate) saved: Option<Vec<CacheKey>>,
    pub(crate) state: State,
    /// It is counted in [`Node::runs_for`].
    pub(crate) wants_run: bool,
}

/// How far an output is. Each state owns what there is in it.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing was asked yet.
    #[default]
    Idle,
    /// The records of a node without inputs are being found.
    Finding(RootSearch),
    /// The records of a node with inputs are being found.
    Searching {
        /// What is known, and what is to be found out.
        search: Search,
        /// The look-up that is under way.
        task: Option<TaskId>,
        /// More is found out than what follows from definitions.
        is_deep: bool,
    },
    /// Records stand for it; these results may be loaded, the best one last.
    Found(Vec<Candidate>),
    /// A result is being loaded; there are others.
    Loading {
        /// The task that loads it.
        task: TaskId,
        /// What it loads.
        candidate: Candidate,
        /// What else there is, the best one last.
        rest: Vec<Candidate>,
    },
    /// No cache has a result: it has to run.
    Missing,
    /// The result is there.
    Complete,
}

/// The search for records of a node without inputs: one map after the other.
#[derive(Debug, Default)]
pub(crate) struct RootSearch {
    /// How many maps were looked up.
    pub(crate) looked_up: usize,
    /// The look-up that is under way.
    pub(crate) task: Option<TaskId>,
}

impl Output {
    /// How much is asked of it, all in all.
    pub(crate) fn asked(&self) -> Level {
        if !self.requests.is_empty() {
            return Level::Result;
        }
        let asked = |level: &Level| self.asks[*level as usize - 1] > 0;
        Level::ASKED.into_iter().find(asked).unwrap_or_default()
    }

    /// One reader asks for something else than before.
    pub(crate) fn change(&mut self, reader: (NodeId, u32), before: Level, now: Level) {
        if before > Level::Nothing {
            self.asks[before as usize - 1] -= 1;
        }
        if now > Level::Nothing {
            self.asks[now as usize - 1] += 1;
            self.readers.insert(reader);
        } else {
            self.readers.remove(&reader);
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Takes back what is under way; the task to cancel.
    pub(crate) fn take_task(&mut self) -> Option<TaskId> {
        match std::mem::take(&mut self.state) {
            State::Finding(mut search) => {
                let task = search.task.take();
                self.state = State::Finding(search);
                task
            }
            State::Searching { mut search, task, is_deep } => {
                search.interrupted();
                self.state = State::Searching { search, task: None, is_deep };
                task
            }
            State::Loading { task, candidate, mut rest } => {
                rest.push(candidate);
                self.state = State::Found(rest);
                Some(task)
            }
            state => {
                self.state = state;
                None
            }
        }
    }
}

impl Preparation {
    /// Takes back what is under way; the task to cancel.
    pub(crate) fn take_task(&mut self) -> Option<TaskId> {
        let Self::Busy(task) = *self else { return None };
        *self = Self::None;
        Some(task)
    }
}

impl Run {
    /// Takes back what is under way; the task to cancel.
    pub(crate) fn take_task(&mut self) -> Option<TaskId> {
        let Self::Busy(task) = *self else { return None };
        *self = Self::No;
        Some(task)
    }
}

impl<E> Node<E> {
    /// A node on these inputs.
    pub(crate) fn new(vertex: Arc<Vertex>, inputs: Vec<Target>, height: u32) -> Self {
        let input = |target| Input {
            target,
            asks: Level::Nothing,
            seen: Level::Nothing,
            preparation: Preparation::None,
            is_ready: false,
        };
        Self {
            vertex,
            height,
            jobs: Vec::new(),
            departures: 0,
            life: Life::Live,
            mapping: Mapping::default(),
            unready: inputs.len(),
            inputs: inputs.into_iter().map(input).collect(),
            outputs: BTreeMap::new(),
            run: Run::No,
            runs_for: 0,
            same: Vec::new(),
            by_target: Vec::new(),
            by_content: None,
            is_shown: false,
            is_awake: false,
            changed: Vec::new(),
            stirred: BTreeSet::new(),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.life, Life::Live)
    }

    pub(crate) fn ignores_cache(&self) -> bool {
        self.vertex.metadata.ignore_cache
    }

    /// Whether any of its outputs is asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.outputs.values().any(|output| output.asked() > Level::Nothing)
    }

    /// Takes back everything that is under way, but for saving; the tasks to cancel.
    pub(crate) fn take_tasks(&mut self) -> Vec<TaskId> {
        let mut tasks = Vec::from_iter(self.mapping.task.take());
        for input in &mut self.inputs {
            tasks.extend(input.preparation.take_task());
        }
        tasks.extend(self.run.take_task());
        for output in self.outputs.values_mut() {
            tasks.extend(output.take_task());
        }
        tasks
    }

    /// What a search sees of an input of which so many records are known.
    pub(crate) fn view(&self, input: u32, keys: usize) -> InputView {
        let own = &self.inputs[input as usize];
        InputView {
            known: own.seen,
            keys,
            by_content: self.mapping.by_content(input),
            has_digest: matches!(own.preparation, Preparation::Done(Some(_))),
        }
    }

    /// How much of an input some output wants to know.
    ///
    /// An output that was not found goes on with what it has begun, although no one has asked for its
    /// result yet: who asked for its records will, if nothing else happens.
    pub(crate) fn wants(&self, input: u32) -> Level {
        let by_content = self.mapping.by_content(input);
        let of_output = |output: &Output| match &output.state {
            State::Idle => Level::Nothing,
            State::Searching { search, is_deep, .. } => match output.asked() {
                Level::Nothing => Level::Nothing,
                _ if search.is_over() => self.inputs[input as usize].asks,
                _ => search.wants(input, by_content, *is_deep),
            },
            State::Missing if output.wants_run => Level::Result,
            State::Missing if output.asked() >= Level::Content => self.inputs[input as usize].asks,
            _ => Level::Nothing,
        };
        self.outputs.values().map(of_output).max().unwrap_or_default()
    }

    /// Whether the content of an input is wanted, or its preparation for the run.
    pub(crate) fn wants_preparation(&self, input: u32) -> bool {
        let is_busy = matches!(self.inputs[input as usize].preparation, Preparation::Busy(_));
        let of_search = |output: &Output| match &output.state {
            State::Searching { search, .. } if search.is_over() => is_busy,
            State::Searching { search, is_deep, .. } if output.asked() > Level::Nothing => {
                search.wants(input, self.mapping.by_content(input), *is_deep) == Level::Result
            }
            State::Missing => is_busy && output.asked() >= Level::Content,
            _ => false,
        };
        self.mapping.needs_preparation(input)
            && (self.runs_for > 0 || self.outputs.values().any(of_search))
    }
}
