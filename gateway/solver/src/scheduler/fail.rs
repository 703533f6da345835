//! Failures reach everyone who needs what failed, and are remembered for the jobs that were there.

use super::Scheduler;
use crate::arena::NodeId;
use crate::level::Level;
use crate::node::{Life, Mapping, Run, State, Target};
use crate::{Action, JobId, TaskId};

impl<E: Clone> Scheduler<E> {
    pub(super) fn task_failed(&mut self, task: TaskId, error: &E) {
        if let Some((node, _)) = self.end(task) {
            self.fail(node, error);
        }
    }

    /// A task could not go on without someone who has left: it begins again, unless nobody left.
    pub(super) fn task_interrupted(&mut self, task: TaskId, error: &E) {
        let Some(open) = self.tasks.get(&task).copied() else { return };
        let left = self.nodes.get(open.node).is_some_and(|node| node.departures > open.departures);
        if !left {
            return self.task_failed(task, error);
        }
        self.tasks.remove(&task);
        let Some(node) = self.nodes.get_mut(open.node) else { return };
        // What is under way begins again, if it is still needed; the one task is gone.
        for other in node.take_tasks() {
            if other != task {
                self.cancel(other);
            }
        }
        let Some(node) = self.nodes.get_mut(open.node) else { return };
        node.stirred.extend(node.outputs.keys().copied());
        self.refresh_all(open.node);
        self.wake(open.node);
    }

    /// Fails a node, but for the outputs that it has already.
    pub(super) fn fail(&mut self, id: NodeId, error: &E) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.is_live()) else { return };
        node.life = Life::Failed { error: error.clone(), jobs: node.jobs.clone() };
        node.runs_for = 0;
        self.abandon(id);
        self.unsign(id);
        let Some(node) = self.nodes.get_mut(id) else { return };
        for output in node.outputs.values_mut().filter(|output| !output.is_complete()) {
            output.state = State::Idle;
            output.wants_run = false;
        }
        self.answer_failed(id);
    }

    /// Answers everyone who needs what failed.
    pub(super) fn answer_failed(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Life::Failed { error, .. } = &node.life else { return };
        let error = error.clone();
        node.stirred.clear();
        let mut failed = Vec::new();
        for (number, output) in &mut node.outputs {
            if output.is_complete() {
                continue;
            }
            failed.push(*number);
            for (request, job) in std::mem::take(&mut output.requests) {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.requests.remove(&request);
                }
                self.actions.push(Action::Finish(request, Err(error.clone())));
            }
        }
        for output in failed {
            self.tell_readers(Target { node: id, output });
        }
    }

    /// Tries a failed node again for a job that was not there when it failed.
    pub(super) fn restart_for(&mut self, job: JobId, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Life::Failed { jobs, .. } = &node.life else { return };
        if jobs.binary_search(&job).is_ok() {
            return;
        }
        node.life = Life::Live;
        node.mapping = Mapping::default();
        for input in &mut node.inputs {
            input.seen = Level::Nothing;
            input.is_ready = false;
        }
        node.unready = node.inputs.len();
        if node.run != Run::Done {
            node.run = Run::No;
        }
        for output in node.outputs.values_mut().filter(|output| !output.is_complete()) {
            output.known = Level::Nothing;
            output.keys.clear();
            output.main.clear();
            output.saved = None;
        }
        node.is_shown = false;
    }
}
