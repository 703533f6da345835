//! What a result was made of, as the main cache knows it: what an export of the cache begins with.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_cache::{CacheKey, SavedRecord};
use kiln_graph::{Edge, Vertex};

use super::Scheduler;
use crate::node::{Run, Target};

/// One output on the way to a result.
#[derive(Clone, Debug)]
pub struct Step {
    /// The vertex.
    pub vertex: Arc<Vertex>,
    /// The number of the output.
    pub output: usize,
    /// The records that stand for it in the main cache; none if it means something within a session
    /// only.
    pub records: Vec<CacheKey>,
    /// The records that were found for it in whatever cache, also in those of a job.
    pub found: Vec<CacheKey>,
    /// The vertex ran; otherwise its result was found.
    pub was_run: bool,
}

/// All outputs on the way to a result.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// The outputs, each after those that its vertex reads; the result itself is the last one.
    pub steps: Vec<Step>,
    /// Records on the way that the main cache does not have yet. They are to be saved before the trail
    /// is followed there.
    pub unsaved: Vec<SavedRecord>,
}

impl<E: Clone> Scheduler<E> {
    /// The way to a result that some job has requested, through everything that was asked for it:
    /// vertices that turned out to be the same lead over the inputs of either.
    pub fn trail(&mut self, edge: &Edge) -> Trail {
        let mut trail = Trail::default();
        let Some(node) = self.ids.get(&edge.vertex) else { return trail };
        let end = self.resolve(Target { node: *node, output: edge.index });
        let mut seen = BTreeSet::new();
        // Outputs on the way to the current one; those whose inputs were looked at are marked.
        let mut open = vec![(end, false)];
        while let Some((target, is_left)) = open.pop() {
            if is_left {
                self.add_step(target, &mut trail);
            } else if seen.insert(target) {
                open.push((target, true));
                open.extend(self.read_by(target).into_iter().map(|input| (input, false)));
            }
        }
        trail
    }

    /// What an output was asked of for, as far as anything is known of it.
    fn read_by(&self, target: Target) -> Vec<Target> {
        let nodes = self.all_same(target.node).into_iter().filter_map(|id| self.nodes.get(id));
        let inputs = nodes.flat_map(|node| &node.inputs).map(|input| self.resolve(input.target));
        inputs.filter(|input| self.output(*input).is_some()).collect()
    }

    fn add_step(&mut self, target: Target, trail: &mut Trail) {
        self.name(target, &mut trail.unsaved);
        let records = self.saved_keys(target);
        if let Some(node) = self.nodes.get(target.node) {
            let vertex = Arc::clone(&node.vertex);
            let found = self.output(target).map(|output| output.keys.clone()).unwrap_or_default();
            let was_run = node.run == Run::Done;
            trail.steps.push(Step { vertex, output: target.output, records, found, was_run });
        }
    }
}
