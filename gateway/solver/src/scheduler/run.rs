//! A node learns how it is keyed, has its inputs prepared, and runs.

use kiln_graph::Edge;
use kiln_keys::CacheMap;
use kiln_oci::Digest;

use super::{Purpose, Scheduler};
use crate::arena::NodeId;
use crate::level::Level;
use crate::node::{Preparation, Run, Target};
use crate::{TaskId, Work};

impl<E: Clone> Scheduler<E> {
    /// Asks how a node is keyed, or for the next of several ways.
    pub(super) fn ask_map(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id) else { return };
        if node.mapping.task.is_some() || node.mapping.is_complete {
            return;
        }
        let work = Work::Map(node.mapping.maps.len());
        let task = self.start(id, Purpose::Map, work);
        if let Some(node) = self.nodes.get_mut(id) {
            node.mapping.task = Some(task);
        }
    }

    pub(super) fn mapped(&mut self, task: TaskId, mut map: CacheMap, is_complete: bool) {
        let Some((id, Purpose::Map)) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(id) else { return };
        map.deps.resize_with(node.inputs.len(), Default::default);
        node.mapping.task = None;
        node.mapping.maps.push(map.into());
        // Only what comes from outside can be known in several ways.
        node.mapping.is_complete = is_complete || !node.inputs.is_empty();
        // There is more to be named after than before.
        node.outputs.values_mut().for_each(|output| output.saved = None);
        let inputs = u32::try_from(node.inputs.len()).unwrap_or(u32::MAX);
        (0..inputs).for_each(|input| node.count_ready(input));
        node.stirred.extend(node.outputs.keys().copied());
        self.steps += inputs as usize;
        self.wake(id);
        for input in 0..inputs {
            let keys = self.input_keys(id, input);
            self.show_searches(id, input, keys);
        }
        self.sign(id);
        self.refresh_all(id);
    }

    /// Prepares an input that is there, if that is wanted; stops if it is not.
    pub(super) fn prepare(&mut self, id: NodeId, input: u32) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let wants = node.is_live() && node.wants_preparation(input);
        let own = &mut node.inputs[input as usize];
        match own.preparation {
            Preparation::Busy(_) if !wants => {
                let task = own.preparation.take_task();
                task.into_iter().for_each(|task| self.cancel(task));
            }
            Preparation::None if wants && own.seen == Level::Result => {
                let target = own.target;
                let Some(dep) = node.mapping.dep(input) else { return };
                let (content, preprocess) = (dep.content.clone(), dep.preprocess);
                let Some(from) = self.edge(target) else { return };
                let work = Work::Prepare { input: input as usize, from, content, preprocess };
                let task = self.start(id, Purpose::Prepare(input), work);
                if let Some(node) = self.nodes.get_mut(id) {
                    node.inputs[input as usize].preparation = Preparation::Busy(task);
                }
            }
            _ => {}
        }
    }

    /// Where the result of a target is, for those outside.
    fn edge(&self, target: Target) -> Option<Edge> {
        let vertex = self.nodes.get(target.node)?.vertex.id.clone();
        Some(Edge { vertex, index: target.output })
    }

    pub(super) fn prepared(&mut self, task: TaskId, digest: Option<Digest>) {
        let Some((id, Purpose::Prepare(input))) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.inputs[input as usize].preparation = Preparation::Done(digest);
        node.count_ready(input);
        self.wake(id);
        let keys = self.input_keys(id, input);
        self.show_searches(id, input, keys);
        self.refresh(id, input);
    }

    /// Runs a node that has to and can, and stops one that need not.
    pub(super) fn run_if_ready(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.runs_for == 0 {
            let task = node.run.take_task();
            return task.into_iter().for_each(|task| self.cancel(task));
        }
        if node.run != Run::No {
            return;
        }
        if !node.mapping.is_complete {
            return self.ask_map(id);
        }
        if node.unready == 0 {
            // What has become known by now may show that another node is the same.
            self.meet_replaced();
            if self.sign_by_content(id) {
                self.execute(id);
            }
        }
    }

    fn execute(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id) else { return };
        self.steps += node.inputs.len();
        let inputs = node.inputs.iter().filter_map(|input| self.edge(input.target)).collect();
        let task = self.start(id, Purpose::Exec, Work::Exec(inputs));
        if let Some(node) = self.nodes.get_mut(id) {
            node.run = Run::Busy(task);
            node.is_shown = true;
        }
    }

    pub(super) fn executed(&mut self, task: TaskId, outputs: usize) {
        let Some((id, Purpose::Exec)) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.run = Run::Done;
        let mut made = Vec::new();
        for output in 0..outputs {
            if !node.outputs.entry(output).or_default().is_complete() {
                made.push(output);
            }
        }
        let same = node.same.clone();
        self.save(id, &made, None);
        for output in made {
            self.complete(Target { node: id, output });
        }
        for same in same {
            self.show_cached(same);
        }
    }
}
