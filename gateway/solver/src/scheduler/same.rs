//! Nodes that turn out to be the same become one, so that nothing is done twice.

use super::Scheduler;
use crate::arena::NodeId;
use crate::level::Level;
use crate::merge::{Signature, survivor};
use crate::node::{Life, Output, Run, State, Target};

impl<E: Clone> Scheduler<E> {
    /// Makes a node known by what it does and what stands for its inputs. It may become another one
    /// by that.
    pub(super) fn sign(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id).filter(|node| node.is_live()) else { return };
        let signatures = node.signatures_by_target();
        self.steps += node.inputs.len();
        for signature in signatures {
            let Some(node) = self.nodes.get_mut(id).filter(|node| node.is_live()) else { return };
            if !node.by_target.contains(&signature) {
                node.by_target.push(signature);
                self.meet(id, signature);
            }
        }
    }

    /// Makes a node known by what is in its inputs; whether it is still a node of its own.
    pub(super) fn sign_by_content(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get_mut(id) else { return false };
        if node.by_content.is_none()
            && node.numbers().any(|input| node.content_key(input).is_some())
            && let Some(signature) = node.signature_by_content()
        {
            self.steps += node.inputs.len();
            node.by_content = Some(signature);
            self.meet(id, signature);
        }
        self.nodes.get(id).is_some_and(|node| node.is_live() && node.run == Run::No)
    }

    /// Looks for another node with a signature; if there is one that is the same, one of the two takes
    /// the other's place.
    fn meet(&mut self, id: NodeId, signature: Signature) {
        let Some(other) = self.index.get(signature).filter(|other| *other != id) else {
            return self.index.insert(signature, id);
        };
        let (Some(new), Some(old)) = (self.nodes.get(id), self.nodes.get(other)) else {
            return self.index.insert(signature, id);
        };
        if !old.is_live() {
            return self.index.insert(signature, id);
        }
        self.steps += new.inputs.len();
        if !old.is_same(new) {
            return;
        }
        if let Some((survivor, other)) = survivor((old, other), (new, id)) {
            self.merge(survivor, other);
            self.index.insert(signature, survivor);
        }
    }

    /// Takes all signatures of a node back.
    pub(super) fn unsign(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let signatures = std::mem::take(&mut node.by_target).into_iter();
        for signature in signatures.chain(node.by_content.take()) {
            self.index.remove(signature, id);
        }
    }

    /// Lets one node take the place of another: who read that reads this, who asked that asks this.
    fn merge(&mut self, survivor: NodeId, other: NodeId) {
        self.abandon(other);
        self.unsign(other);
        let Some(node) = self.nodes.get_mut(other) else { return };
        node.life = Life::Same(survivor);
        node.runs_for = 0;
        let (jobs, outputs) = (node.jobs.clone(), std::mem::take(&mut node.outputs));
        for (number, output) in outputs {
            self.hand_over(output, Target { node: survivor, output: number });
        }
        if let Some(node) = self.nodes.get_mut(survivor) {
            node.same.push(other);
        }
        for job in jobs {
            self.enlist(job, survivor);
        }
        self.link_same(survivor);
        if self.nodes.get(survivor).is_some_and(|node| {
            node.outputs.values().any(|output| matches!(output.state, State::Complete))
        }) {
            self.show_cached(other);
        }
    }

    /// Hands the readers and requests of an output over to another one.
    fn hand_over(&mut self, from: Output, target: Target) {
        for (reader, input) in from.readers {
            self.steps += 1;
            self.replace_input(reader, input, target);
            let Some(node) = self.nodes.get_mut(reader) else { continue };
            let asks = node.inputs[input as usize].asks;
            node.changed.push(input);
            self.wake(reader);
            if let Some(node) = self.nodes.get_mut(target.node) {
                let output = node.outputs.entry(target.output).or_default();
                output.change((reader, input), Level::Nothing, asks);
            }
        }
        for (request, job) in from.requests {
            if let Some(job) = self.jobs.get_mut(job) {
                job.requests.insert(request, target);
            }
            if let Some(node) = self.nodes.get_mut(target.node) {
                node.outputs.entry(target.output).or_default().requests.push((request, job));
            }
        }
        self.stir(target);
    }

    /// Lets something else stand for an input.
    pub(super) fn replace_input(&mut self, id: NodeId, input: u32, target: Target) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let own = &mut node.inputs[input as usize];
        let before = std::mem::replace(&mut own.target, target);
        own.seen = Level::Nothing;
        node.count_ready(input);
        for output in node.outputs.values_mut() {
            if let State::Searching { search, .. } = &mut output.state {
                search.replaced(input);
            }
        }
        let Some(old) = node.by_target.pop() else { return };
        let signature = old.wrapping_add(node.signature_change(input as usize, before));
        node.by_target.push(signature);
        let by_content = node.by_content.take();
        for signature in [Some(old), by_content].into_iter().flatten() {
            self.index.remove(signature, id);
        }
        self.replaced.push_back(id);
    }

    /// Looks whether those for whose inputs something else stands are the same as others now.
    pub(super) fn meet_replaced(&mut self) {
        while let Some(id) = self.replaced.pop_front() {
            let node = self.nodes.get(id).filter(|node| node.is_live());
            if let Some(signature) = node.and_then(|node| node.by_target.first().copied()) {
                self.meet(id, signature);
            }
        }
    }
}
