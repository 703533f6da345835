//! The machine: events in, actions out.
//!
//! [`Scheduler::handle`] takes an event in and only notes what it touches; [`Scheduler::run`] looks at
//! what was touched, a bounded amount at a time and in turn for each job. What is asked flows down the
//! graph, from requests to inputs; what is known flows up, from inputs to those that read them. The
//! parts of this module follow a node through its life.

mod account;
mod fail;
mod find;
mod join;
mod keep;
mod leave;
mod run;
mod same;
mod step;
mod trail;

pub use account::{Account, AccountedInput, Fate};
pub use trail::{Step, Trail};

use std::collections::{HashMap, VecDeque};

use kiln_oci::Digest;

use crate::arena::{Arena, NodeId};
use crate::merge::MergeIndex;
use crate::node::{Life, Node, Output, Target};
use crate::queue::{Item, Jobs, Join};
use crate::{Action, Event, JobId, Task, TaskId, Work};

/// How much is done for one job before the next one has its turn.
const TURN: usize = 64;

/// Decides what all running builds do next.
#[derive(Debug)]
pub struct Scheduler<E> {
    nodes: Arena<Node<E>>,
    ids: HashMap<Digest, NodeId>,
    jobs: Jobs,
    tasks: HashMap<TaskId, Open>,
    next_task: u64,
    index: MergeIndex,
    /// Nodes for whose inputs something else stands, so that they may be the same as others.
    replaced: VecDeque<NodeId>,
    actions: Vec<Action<E>>,
    /// How much was done so far: a node looked at, an input of it touched.
    steps: usize,
}

/// A task that has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    node: NodeId,
    purpose: Purpose,
    /// How many jobs had left the node when it began.
    departures: u64,
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Map,
    LookUp(usize),
    Prepare(u32),
    Load(usize),
    Exec,
    Save,
}

impl<E> Default for Scheduler<E> {
    fn default() -> Self {
        Self {
            nodes: Arena::default(),
            ids: HashMap::new(),
            jobs: Jobs::default(),
            tasks: HashMap::new(),
            next_task: 0,
            index: MergeIndex::default(),
            replaced: VecDeque::new(),
            actions: Vec::new(),
            steps: 0,
        }
    }
}

impl<E: Clone> Scheduler<E> {
    /// Takes in what happened. Costs little; what follows from it is worked out by
    /// [`Scheduler::run`].
    pub fn handle(&mut self, event: Event<E>) {
        match event {
            Event::Requested { job, request, graph, edge } => {
                if !self.jobs.open(job).is_closed {
                    let join = Join { request, graph, edge, way: Vec::new() };
                    self.jobs.push(job, Item::Join(join));
                }
            }
            Event::Closed(job) => self.close(job),
            Event::Mapped(task, map, is_complete) => self.mapped(task, map, is_complete),
            Event::LookedUp(task, answers) => self.looked_up(task, answers),
            Event::Prepared(task, digest) => self.prepared(task, digest),
            Event::Loaded(task) => self.loaded(task),
            Event::NotLoaded(task) => self.not_loaded(task),
            Event::Executed(task, outputs) => self.executed(task, outputs),
            Event::Saved(task) => drop(self.tasks.remove(&task)),
            Event::Failed(task, error) => self.task_failed(task, &error),
            Event::Interrupted(task, error) => self.task_interrupted(task, &error),
        }
    }

    /// Works out what follows from the events so far, and returns the actions that calls for, in the
    /// order to start them.
    ///
    /// Stops after about `steps` steps: a node looked at, an input of it touched. Whoever calls it goes
    /// on as long as [`Scheduler::is_busy`], and may handle events in between.
    pub fn run(&mut self, steps: usize) -> Vec<Action<E>> {
        let end = self.steps.saturating_add(steps);
        while self.steps < end {
            let Some(job) = self.jobs.next() else { break };
            self.serve(job);
        }
        std::mem::take(&mut self.actions)
    }

    /// Whether there is something left to work out.
    pub fn is_busy(&self) -> bool {
        self.jobs.is_busy() || !self.actions.is_empty()
    }

    /// Whether nothing is known and nothing under way.
    pub fn is_idle(&self) -> bool {
        !self.is_busy()
            && self.nodes.is_empty()
            && self.jobs.is_empty()
            && self.tasks.is_empty()
            && self.index.is_empty()
    }

    /// How many steps it took to get here; for tests of how the work grows.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One turn of a job.
    fn serve(&mut self, job: JobId) {
        let end = self.steps + TURN;
        while self.steps < end {
            let Some(item) = self.jobs.pop(job) else { return };
            self.steps += 1;
            match item {
                Item::Wake(node) => self.step(node),
                Item::Join(join) => self.join(job, join, end),
                Item::Leave(leave) => self.leave(job, leave, end),
            }
        }
        self.jobs.end_turn(job);
    }

    /// Puts a node into a queue of one of its jobs.
    fn wake(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.is_awake {
            return;
        }
        // A node that no job has is about to go.
        if let Some(job) = self.jobs.idlest(&node.jobs) {
            node.is_awake = true;
            self.jobs.push(job, Item::Wake(id));
        }
    }

    /// Notes that an output is to be looked at.
    fn stir(&mut self, target: Target) {
        if let Some(node) = self.nodes.get_mut(target.node) {
            node.stirred.insert(target.output);
            self.wake(target.node);
        }
    }

    /// Tells all readers of an output that it has changed.
    fn tell_readers(&mut self, target: Target) {
        let Some(output) = self.output(target) else { return };
        let readers: Vec<_> = output.readers.iter().copied().collect();
        self.steps += readers.len();
        for (reader, input) in readers {
            if let Some(node) = self.nodes.get_mut(reader) {
                node.changed.push(input);
                self.wake(reader);
            }
        }
    }

    fn output(&self, target: Target) -> Option<&Output> {
        self.nodes.get(target.node)?.outputs.get(&target.output)
    }

    fn output_mut(&mut self, target: Target) -> Option<&mut Output> {
        self.nodes.get_mut(target.node)?.outputs.get_mut(&target.output)
    }

    /// What stands for a target: the node itself, or the one that it is the same as.
    fn resolve(&self, mut target: Target) -> Target {
        while let Some(Life::Same(node)) = self.nodes.get(target.node).map(|node| &node.life) {
            target.node = *node;
        }
        target
    }

    fn start(&mut self, node: NodeId, purpose: Purpose, work: Work) -> TaskId {
        self.next_task += 1;
        let id = TaskId(self.next_task);
        if let Some(own) = self.nodes.get(node) {
            let (vertex, departures) = (own.vertex.id.clone(), own.departures);
            self.tasks.insert(id, Open { node, purpose, departures });
            self.actions.push(Action::Start(Task { id, vertex, work }));
        }
        id
    }

    fn cancel(&mut self, task: TaskId) {
        if self.tasks.remove(&task).is_some() {
            self.actions.push(Action::Cancel(task));
        }
    }

    /// Takes a task that has ended out; `None` if it was cancelled before.
    fn end(&mut self, task: TaskId) -> Option<(NodeId, Purpose)> {
        self.tasks.remove(&task).map(|open| (open.node, open.purpose))
    }
}
