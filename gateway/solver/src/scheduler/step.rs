//! One look at a node: changed inputs are taken in, outputs go on, and what is needed now is asked.

use super::Scheduler;
use crate::arena::NodeId;
use crate::level::Level;
use crate::node::{Life, Preparation, State, Target};

impl<E: Clone> Scheduler<E> {
    /// Looks at a node.
    pub(super) fn step(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.is_awake = false;
        let changed = std::mem::take(&mut node.changed);
        self.steps += changed.len();
        match node.life {
            Life::Live => {}
            Life::Failed { .. } => return self.answer_failed(id),
            Life::Same(_) => return,
        }
        for input in changed {
            self.take_in(id, input);
        }
        while let Some(output) = self.next_stirred(id) {
            self.steps += 1;
            self.advance(Target { node: id, output });
        }
        self.settle(id);
        self.meet_replaced();
    }

    fn next_stirred(&mut self, id: NodeId) -> Option<usize> {
        let node = self.nodes.get_mut(id).filter(|node| node.is_live())?;
        node.stirred.pop_first()
    }

    /// Takes in what has become of an input.
    fn take_in(&mut self, id: NodeId, input: u32) {
        let Some(node) = self.nodes.get(id).filter(|node| node.is_live()) else { return };
        let own = &node.inputs[input as usize];
        if own.asks == Level::Nothing {
            return;
        }
        let target = own.target;
        let Some(other) = self.nodes.get(target.node) else { return };
        let output = other.outputs.get(&target.output);
        let known = output.map_or(Level::Nothing, |output| output.known);
        if let Life::Failed { error, .. } = &other.life
            && known < Level::Result
        {
            let error = error.clone();
            return self.fail(id, &error);
        }
        let keys = output.map_or(0, |output| output.keys.len());
        if let Some(node) = self.nodes.get_mut(id) {
            node.inputs[input as usize].seen = known;
            node.count_ready(input);
        }
        self.show_searches(id, input, keys);
        self.refresh(id, input);
    }

    /// Shows an input to all searches of a node.
    pub(super) fn show_searches(&mut self, id: NodeId, input: u32, keys: usize) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.mapping.map().is_none() {
            return;
        }
        let view = node.view(input, keys);
        for (output, own) in &mut node.outputs {
            if let State::Searching { search, is_deep, .. } = &mut own.state {
                search.look_at(input, view, *is_deep);
                node.stirred.insert(*output);
            }
        }
    }

    /// How many records are known to stand for an input.
    pub(super) fn input_keys(&self, id: NodeId, input: u32) -> usize {
        let target = self.nodes.get(id).map(|node| node.inputs[input as usize].target);
        target.and_then(|target| self.output(target)).map_or(0, |output| output.keys.len())
    }

    /// Asks of an input what is wanted of it now, and prepares it if that is wanted.
    pub(super) fn refresh(&mut self, id: NodeId, input: u32) {
        let Some(node) = self.nodes.get(id) else { return };
        let wants = if node.is_live() { node.wants(input) } else { Level::Nothing };
        self.ask(id, input, wants);
        self.prepare(id, input);
    }

    /// The same for all inputs.
    pub(super) fn refresh_all(&mut self, id: NodeId) {
        let inputs = self.nodes.get(id).map_or(0, |node| node.inputs.len());
        self.steps += inputs;
        for input in 0..inputs {
            self.refresh(id, u32::try_from(input).unwrap_or(u32::MAX));
        }
    }

    /// Changes what is asked of an input.
    pub(super) fn ask(&mut self, id: NodeId, input: u32, level: Level) {
        let Some(node) = self.nodes.get(id) else { return };
        let before = node.inputs[input as usize].asks;
        if before == level {
            return;
        }
        let target = self.current_target(id, input);
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.inputs[input as usize].asks = level;
        let seen = node.inputs[input as usize].seen;
        let Some(other) = self.nodes.get_mut(target.node) else { return };
        let output = other.outputs.entry(target.output).or_default();
        let asked = output.asked();
        output.change((id, input), before, level);
        let is_news = level > before && (output.known > seen || !matches!(other.life, Life::Live));
        if output.asked() != asked {
            self.stir(target);
        }
        if is_news && let Some(node) = self.nodes.get_mut(id) {
            node.changed.push(input);
            self.wake(id);
        }
    }

    /// What stands for an input; nodes that ask nothing are not told when that changes.
    fn current_target(&mut self, id: NodeId, input: u32) -> Target {
        let Some(node) = self.nodes.get(id) else { return Target { node: id, output: 0 } };
        let before = node.inputs[input as usize].target;
        let target = self.resolve(before);
        if target != before {
            self.replace_input(id, input, target);
        }
        target
    }

    /// Goes on with what concerns the node as a whole.
    pub(super) fn settle(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(id).filter(|node| node.is_live()) else { return };
        if !node.is_asked() {
            return self.rest(id);
        }
        if node.mapping.maps.is_empty() {
            self.ask_map(id);
        }
        self.run_if_ready(id);
    }

    /// Cancels what no one asks for any more.
    fn rest(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        for task in node.take_tasks() {
            self.cancel(task);
        }
    }
}

impl<E> crate::node::Node<E> {
    /// Works out anew whether an input can be used.
    pub(crate) fn count_ready(&mut self, input: u32) {
        let needs_preparation = self.mapping.needs_preparation(input);
        let own = &mut self.inputs[input as usize];
        let is_prepared = !needs_preparation || matches!(own.preparation, Preparation::Done(_));
        let is_ready = own.seen == Level::Result && is_prepared;
        match (std::mem::replace(&mut own.is_ready, is_ready), is_ready) {
            (false, true) => self.unready -= 1,
            (true, false) => self.unready += 1,
            _ => {}
        }
    }
}
