//! Jobs come: their graphs are taken over, node by node, and their requests made.

use std::sync::Arc;

use kiln_graph::Vertex;
use kiln_oci::Digest;

use super::Scheduler;
use crate::arena::NodeId;
use crate::node::{Life, Node, Target};
use crate::queue::{Item, Join};
use crate::{Action, JobId, RequestId};

impl<E: Clone> Scheduler<E> {
    /// Goes on with taking over a graph until the turn ends: inputs before those that read them.
    pub(super) fn join(&mut self, job: JobId, mut join: Join, end: usize) {
        if join.way.is_empty() {
            self.enter(job, &mut join, None);
        }
        while let Some((vertex, next)) = join.way.last_mut() {
            if self.steps >= end {
                return self.jobs.push(job, Item::Join(join));
            }
            self.steps += 1;
            match vertex.inputs.get(*next) {
                Some(input) => {
                    *next += 1;
                    let input = input.vertex.clone();
                    self.enter(job, &mut join, Some(&input));
                }
                None => {
                    let vertex = Arc::clone(vertex);
                    join.way.pop();
                    self.take_over(job, &vertex);
                }
            }
        }
        if let Some(node) = self.ids.get(&join.edge.vertex) {
            let target = Target { node: *node, output: join.edge.index };
            self.request(job, join.request, target);
        }
    }

    /// Steps to a vertex, the root first, unless the job has it.
    fn enter(&mut self, job: JobId, join: &mut Join, vertex: Option<&Digest>) {
        let vertex = vertex.unwrap_or(&join.edge.vertex);
        let node = self.ids.get(vertex).and_then(|id| self.nodes.get(*id));
        if node.is_some_and(|node| node.jobs.binary_search(&job).is_ok()) {
            return;
        }
        if let Some(vertex) = join.graph.vertex(vertex) {
            join.way.push((Arc::clone(vertex), 0));
        }
    }

    fn take_over(&mut self, job: JobId, vertex: &Arc<Vertex>) {
        let id = self.ids.get(&vertex.id).copied().unwrap_or_else(|| self.create(vertex));
        self.enlist(job, id);
    }

    fn create(&mut self, vertex: &Arc<Vertex>) -> NodeId {
        let mut targets = Vec::with_capacity(vertex.inputs.len());
        let mut height = 0;
        for edge in &vertex.inputs {
            // The inputs were taken over before.
            let Some(node) = self.ids.get(&edge.vertex) else { continue };
            let target = self.resolve(Target { node: *node, output: edge.index });
            let above = self.nodes.get(target.node).map_or(0, |input| input.height + 1);
            height = height.max(above);
            targets.push(target);
        }
        let id = self.nodes.insert(Node::new(Arc::clone(vertex), targets, height));
        self.ids.insert(vertex.id.clone(), id);
        id
    }

    /// Adds a job to a node, and to whatever that needs in turn.
    pub(super) fn enlist(&mut self, job: JobId, id: NodeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            let Err(place) = node.jobs.binary_search(&job) else { continue };
            node.jobs.insert(place, job);
            self.steps += 1;
            self.actions.push(Action::Join(job, Arc::clone(&node.vertex)));
            open.extend(node.inputs.iter().map(|input| input.target.node));
            if let Life::Same(other) = node.life {
                open.push(other);
            }
            self.jobs.open(job).nodes.push(id);
            self.restart_for(job, id);
        }
    }

    /// Waits for a result on behalf of a job, or answers at once.
    fn request(&mut self, job: JobId, request: RequestId, target: Target) {
        let target = self.resolve(target);
        let Some(node) = self.nodes.get_mut(target.node) else { return };
        let output = node.outputs.entry(target.output).or_default();
        if !output.is_complete()
            && let Life::Failed { error, .. } = &node.life
        {
            return self.actions.push(Action::Finish(request, Err(error.clone())));
        }
        output.requests.push((request, job));
        self.jobs.open(job).requests.insert(request, target);
        self.stir(target);
    }
}
