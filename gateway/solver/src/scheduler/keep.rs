//! Results are saved under all that is known to lead to them.
//!
//! What a result is reached by is worked out here, once for each output: the record of the main cache
//! that was found for it, else one that is named after the keys of its inputs. Records between a new
//! result and what the cache has already are saved along, without results: they are steps on the way.

use std::collections::BTreeSet;

use kiln_cache::{CacheKey, FoundRecord, InputKey, SavedRecord};

use super::{Purpose, Scheduler};
use crate::Work;
use crate::arena::NodeId;
use crate::node::{Node, Target};

impl<E: Clone> Scheduler<E> {
    /// Saves the results of outputs that have just been made or loaded from elsewhere, and lets
    /// readers that come later look them up.
    ///
    /// `created` says when they were made, in nanoseconds since 1970, if not just now.
    pub(super) fn save(&mut self, id: NodeId, outputs: &[usize], created: Option<u64>) {
        let mut records = Vec::new();
        let mut results = Vec::new();
        for output in outputs {
            let target = Target { node: id, output: *output };
            let keys = self.save_record(target, &mut records);
            let ignores_cache = self.nodes.get(id).is_some_and(Node::ignores_cache);
            if let Some(own) = self.output_mut(target).filter(|_| !ignores_cache) {
                own.add_keys(keys.iter().copied());
            }
            if !keys.is_empty() {
                results.push((*output, keys));
            }
        }
        if !results.is_empty() {
            self.start(id, Purpose::Save, Work::Save { records, results, created });
        }
    }

    /// Adds everything that leads to an output to `records`; the keys of its own records.
    fn save_record(&mut self, target: Target, records: &mut Vec<SavedRecord>) -> Vec<CacheKey> {
        let is_new = self.output(target).is_some_and(|output| output.saved.is_none());
        self.name(target, records);
        let keys = self.saved_keys(target);
        let is_added = records.last().is_some_and(|record| keys.contains(&record.key));
        if !(is_new && is_added) {
            // It was there or on its way, but perhaps not on all the ways that are known by now.
            let inputs = self.unnamed_inputs(target.node);
            inputs.into_iter().for_each(|input| self.name(input, records));
            records.extend(keys.iter().filter_map(|key| self.record(target, *key)));
        }
        keys
    }

    /// Lets the keys of inputs that do not lead to a found record lead to it.
    pub(super) fn link_found(&mut self, target: Target, found: &[&FoundRecord]) {
        let Some(node) = self.nodes.get(target.node) else { return };
        let Some(map) = node.mapping.map() else { return };
        let operation = CacheKey::operation(map, target.output);
        let more = self.keys_not_looked_up(target.node);
        let mut records = Vec::new();
        for found in found {
            let mut inputs: BTreeSet<(u32, InputKey)> = found.unlinked.iter().copied().collect();
            inputs.retain(|(input, key)| self.is_known_to_main(target.node, *input, *key));
            inputs.extend(more.iter().copied());
            if !inputs.is_empty() {
                let inputs = inputs.into_iter().collect();
                records.push(SavedRecord { key: found.key, operation, inputs });
            }
        }
        if !records.is_empty() {
            self.start(target.node, Purpose::Save, only_records(records));
        }
    }

    /// Keys of inputs that could lead to no record, so that they were not looked up: of those that
    /// ignore the cache, and those by which sources are not known yet.
    fn keys_not_looked_up(&mut self, id: NodeId) -> Vec<(u32, InputKey)> {
        let Some(node) = self.nodes.get(id) else { return Vec::new() };
        let may_have_more = |input: &u32| {
            let target = node.inputs[*input as usize].target;
            let (Some(other), Some(output)) = (self.nodes.get(target.node), self.output(target))
            else {
                return false;
            };
            let is_done = !other.ignores_cache() || output.is_complete();
            let ways = other.mapping.maps.len();
            is_done
                && (other.ignores_cache() || other.inputs.is_empty() && ways > output.keys.len())
        };
        let inputs: Vec<u32> = node.numbers().filter(may_have_more).collect();
        let mut more = Vec::new();
        for input in inputs {
            let Some(node) = self.nodes.get(id) else { continue };
            let target = node.inputs[input as usize].target;
            if self.is_named_by_itself(target) {
                self.name(target, &mut Vec::new());
            }
            more.extend(self.own_link_keys(id, input).into_iter().map(|key| (input, key)));
        }
        more
    }

    /// Lets what leads to a node that turned out to be the same lead to what is saved already.
    pub(super) fn link_same(&mut self, survivor: NodeId) {
        let Some(node) = self.nodes.get(survivor) else { return };
        let named = node.outputs.iter().filter(|(_, output)| {
            output.is_complete() && output.saved.as_ref().is_some_and(|keys| !keys.is_empty())
        });
        let named: Vec<usize> = named.map(|(output, _)| *output).collect();
        let mut records = Vec::new();
        for output in named {
            self.save_record(Target { node: survivor, output }, &mut records);
        }
        if !records.is_empty() {
            self.start(survivor, Purpose::Save, only_records(records));
        }
    }

    fn input_node(&self, id: NodeId, input: u32) -> Option<&Node<E>> {
        let target = self.nodes.get(id)?.inputs.get(input as usize)?.target;
        self.nodes.get(target.node)
    }

    /// Whether a key of an input means something in the main cache.
    fn is_known_to_main(&self, id: NodeId, input: u32, key: InputKey) -> bool {
        let Some(node) = self.nodes.get(id) else { return false };
        let is_root = self.input_node(id, input).is_some_and(|node| node.inputs.is_empty());
        let output = self.output(node.inputs[input as usize].target);
        let is_main = output.is_some_and(|output| output.main.contains(&key.record));
        is_root
            || is_main
            || node.content_key(input) == Some(key)
            || self.own_link_keys(id, input).contains(&key)
    }

    pub(super) fn saved_keys(&self, target: Target) -> Vec<CacheKey> {
        self.output(target).and_then(|output| output.saved.clone()).unwrap_or_default()
    }

    /// Works out under which records an output is saved. Adds those that the main cache does not have
    /// to `records`, each after those that lead to it.
    pub(super) fn name(&mut self, target: Target, records: &mut Vec<SavedRecord>) {
        let mut open = vec![target];
        while let Some(target) = open.last().copied() {
            let is_named = self.output(target).is_none_or(|output| output.saved.is_some());
            let unnamed = match is_named || self.is_named_by_itself(target) {
                true => Vec::new(),
                false => self.unnamed_inputs(target.node),
            };
            self.steps += 1 + unnamed.len();
            if unnamed.is_empty() {
                open.pop();
            }
            if unnamed.is_empty() && !is_named {
                let (keys, record) = self.own_name(target);
                records.extend(record);
                if let Some(output) = self.output_mut(target) {
                    output.saved = Some(keys);
                }
            }
            open.extend(unnamed);
        }
    }

    /// Whether the name of an output does not depend on those of its inputs.
    fn is_named_by_itself(&self, target: Target) -> bool {
        let Some(node) = self.nodes.get(target.node) else { return true };
        let output = node.outputs.get(&target.output);
        node.inputs.is_empty() || output.is_none_or(|output| !output.main.is_empty())
    }

    /// The records under which an output is saved, once its inputs are named; with the record that
    /// leads there, if the main cache does not have it.
    fn own_name(&self, target: Target) -> (Vec<CacheKey>, Option<SavedRecord>) {
        let Some(node) = self.nodes.get(target.node) else { return Default::default() };
        let Some(map) = node.mapping.map() else { return Default::default() };
        if node.inputs.is_empty() {
            let keys = node.mapping.maps.iter().map(|map| CacheKey::operation(map, target.output));
            return (keys.filter(|key| !key.is_session_scoped()).collect(), None);
        }
        let main = node.outputs.get(&target.output).map(|output| output.main.clone());
        if let Some(main) = main.filter(|main| !main.is_empty()) {
            return (main, None);
        }
        let inputs: Vec<_> = node.numbers().map(|i| self.own_link_keys(target.node, i)).collect();
        if map.session_scoped || inputs.iter().any(Vec::is_empty) {
            return Default::default();
        }
        let key = CacheKey::derived(CacheKey::operation(map, target.output), &inputs);
        (vec![key], self.record(target, key))
    }

    /// A record of an output, with everything that leads there; `None` if nothing has to.
    fn record(&self, target: Target, key: CacheKey) -> Option<SavedRecord> {
        let node = self.nodes.get(target.node)?;
        let operation = CacheKey::operation(node.mapping.map()?, target.output);
        let mut inputs = Vec::new();
        for id in self.all_same(target.node) {
            for input in self.nodes.get(id)?.numbers() {
                inputs.extend(self.own_link_keys(id, input).into_iter().map(|key| (input, key)));
            }
        }
        (!inputs.is_empty()).then_some(SavedRecord { key, operation, inputs })
    }

    /// The keys of an input as they lead from the main cache.
    pub(super) fn own_link_keys(&self, id: NodeId, input: u32) -> Vec<InputKey> {
        let Some(node) = self.nodes.get(id) else { return Vec::new() };
        let selector = node.mapping.selector(input);
        let target = self.resolve(node.inputs[input as usize].target);
        let keys = self.saved_keys(target).into_iter();
        let mut keys: Vec<_> = keys.map(|record| InputKey { record, selector }).collect();
        keys.extend(node.content_key(input));
        keys
    }

    /// A node and those that turned out to be the same.
    pub(super) fn all_same(&self, id: NodeId) -> Vec<NodeId> {
        let same = self.nodes.get(id).map(|node| node.same.as_slice()).unwrap_or_default();
        let live = same.iter().filter(|id| self.nodes.get(**id).is_some());
        std::iter::once(id).chain(live.copied()).collect()
    }

    /// The inputs of a node, and of those that are the same, that were not named yet.
    fn unnamed_inputs(&self, id: NodeId) -> Vec<Target> {
        let nodes = self.all_same(id).into_iter().filter_map(|id| self.nodes.get(id));
        let inputs = nodes.flat_map(|node| &node.inputs).map(|input| self.resolve(input.target));
        let unnamed =
            inputs.filter(|input| self.output(*input).is_some_and(|output| output.saved.is_none()));
        unnamed.collect()
    }
}

fn only_records(records: Vec<SavedRecord>) -> Work {
    Work::Save { records, results: Vec::new(), created: None }
}

impl<E> Node<E> {
    /// The numbers of the inputs.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.inputs.len()).unwrap_or(u32::MAX)
    }
}
