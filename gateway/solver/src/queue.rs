//! Whose turn it is: what is to be done for each job, and a ring of those for whom there is something.
//!
//! A job gets a bounded share of work, then the next one has its turn, so that a large graph takes
//! long for whoever sent it and for no one else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kiln_graph::{Edge, Graph, Vertex};

use crate::arena::NodeId;
use crate::node::Target;
use crate::{JobId, RequestId};

/// What is known of a job.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// The nodes it has; inputs before those that read them, but for nodes that came to it because
    /// they turned out to be the same as others.
    pub(crate) nodes: Vec<NodeId>,
    /// What it waits for.
    pub(crate) requests: BTreeMap<RequestId, Target>,
    pub(crate) is_closed: bool,
    queue: VecDeque<Item>,
    is_in_ring: bool,
}

/// Something to be done for a job.
#[derive(Debug)]
pub(crate) enum Item {
    /// Go on with taking over a graph.
    Join(Join),
    /// Look at a node, because something about it has changed.
    Wake(NodeId),
    /// Go on with giving up what the job has.
    Leave(Leave),
}

/// A request whose graph is being taken over.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) request: RequestId,
    pub(crate) graph: Arc<Graph>,
    pub(crate) edge: Edge,
    /// Vertices on the way to the current one, with the number of the input that is looked at next.
    pub(crate) way: Vec<(Arc<Vertex>, usize)>,
}

/// A job that is being given up: the number of the node that is next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// The job is taken off nodes.
    Nodes(usize),
    /// Nodes that no job has are dropped.
    Drop(usize),
}

/// The jobs, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    ring: VecDeque<JobId>,
}

impl Jobs {
    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&job)
    }

    /// The nodes that a job has.
    pub(crate) fn nodes(&self, job: JobId) -> &[NodeId] {
        self.jobs.get(&job).map(|job| job.nodes.as_slice()).unwrap_or_default()
    }

    /// The job, from now on if it is new.
    pub(crate) fn open(&mut self, job: JobId) -> &mut Job {
        self.jobs.entry(job).or_default()
    }

    /// Takes a job out; the nodes that waited for its turn.
    pub(crate) fn remove(&mut self, job: JobId) -> Vec<NodeId> {
        let items = self.jobs.remove(&job).map(|job| job.queue).unwrap_or_default();
        let waiting = items.into_iter().filter_map(|item| match item {
            Item::Wake(node) => Some(node),
            Item::Join(_) | Item::Leave(_) => None,
        });
        waiting.collect()
    }

    /// Puts something at the end of a job's queue.
    pub(crate) fn push(&mut self, job: JobId, item: Item) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.queue.push_back(item);
        if !std::mem::replace(&mut state.is_in_ring, true) {
            self.ring.push_back(job);
        }
    }

    /// Takes a job out of its turn-taking: everything it asked for that has not begun.
    pub(crate) fn forget_joins(&mut self, job: JobId) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.queue.retain(|item| !matches!(item, Item::Join(_)));
        }
    }

    /// The one of these jobs that has the least to do.
    pub(crate) fn idlest(&self, of: &[JobId]) -> Option<JobId> {
        /// Enough to find one that is idle, few enough to cost nothing.
        const SOME: usize = 4;
        let of = of.iter().take(SOME).filter_map(|job| Some((*job, self.jobs.get(job)?)));
        of.min_by_key(|(_, state)| state.queue.len()).map(|(job, _)| job)
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> Option<JobId> {
        self.ring.pop_front()
    }

    /// What is to be done next for the job whose turn it is.
    pub(crate) fn pop(&mut self, job: JobId) -> Option<Item> {
        let state = self.jobs.get_mut(&job)?;
        let item = state.queue.pop_front();
        if item.is_none() {
            state.is_in_ring = false;
        }
        item
    }

    /// Ends the turn of a job for which there may be more to do.
    pub(crate) fn end_turn(&mut self, job: JobId) {
        if self.jobs.contains_key(&job) {
            self.ring.push_back(job);
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.ring.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}
