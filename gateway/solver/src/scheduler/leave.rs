//! Jobs go: what only they asked for is cancelled, what only they had is dropped.
//!
//! The work is linear in what the job itself had, and done in turn with the work of others.

use super::Scheduler;
use crate::arena::NodeId;
use crate::level::Level;
use crate::queue::{Item, Leave};
use crate::{Action, JobId};

impl<E: Clone> Scheduler<E> {
    /// Ends a job: takes its requests back, and begins to give its nodes up.
    pub(super) fn close(&mut self, job: JobId) {
        let Some(state) = self.jobs.get_mut(job) else { return };
        state.is_closed = true;
        for (request, target) in std::mem::take(&mut state.requests) {
            if let Some(output) = self.output_mut(target) {
                output.requests.retain(|(other, _)| *other != request);
                self.stir(target);
            }
        }
        self.jobs.forget_joins(job);
        self.jobs.push(job, Item::Leave(Leave::Nodes(0)));
    }

    /// Goes on with giving up a job's nodes until the turn ends.
    pub(super) fn leave(&mut self, job: JobId, mut leave: Leave, end: usize) {
        loop {
            if self.steps >= end {
                return self.jobs.push(job, Item::Leave(leave));
            }
            let (Leave::Nodes(next) | Leave::Drop(next)) = leave;
            let node = self.jobs.get_mut(job).and_then(|job| job.nodes.get(next).copied());
            self.steps += 1;
            leave = match (leave, node) {
                (Leave::Nodes(_), Some(node)) => {
                    self.depart(job, node);
                    Leave::Nodes(next + 1)
                }
                (Leave::Nodes(_), None) => Leave::Drop(0),
                (Leave::Drop(_), Some(node)) => {
                    if self.nodes.get(node).is_some_and(|node| node.jobs.is_empty()) {
                        self.drop_node(node);
                    }
                    Leave::Drop(next + 1)
                }
                (Leave::Drop(_), None) => {
                    // Others may wait for nodes that stood in this job's queue.
                    for node in self.jobs.remove(job) {
                        if let Some(own) = self.nodes.get_mut(node) {
                            own.is_awake = false;
                            self.wake(node);
                        }
                    }
                    return;
                }
            };
        }
    }

    fn depart(&mut self, job: JobId, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if let Ok(place) = node.jobs.binary_search(&job) {
            node.jobs.remove(place);
            node.departures += 1;
            self.actions.push(Action::Leave(job, node.vertex.id.clone()));
        }
    }

    fn drop_node(&mut self, id: NodeId) {
        self.abandon(id);
        self.unsign(id);
        let Some(node) = self.nodes.remove(id) else { return };
        if self.ids.get(&node.vertex.id) == Some(&id) {
            self.ids.remove(&node.vertex.id);
        }
        self.actions.push(Action::Drop(node.vertex.id.clone()));
    }

    /// Cancels everything that is under way for a node but saving, and asks nothing of its inputs.
    pub(super) fn abandon(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        for task in node.take_tasks() {
            self.cancel(task);
        }
        let Some(node) = self.nodes.get(id) else { return };
        for input in 0..node.inputs.len() {
            self.ask(id, u32::try_from(input).unwrap_or(u32::MAX), Level::Nothing);
        }
    }
}
