//! What became of everything that a job has: how each vertex is keyed, what is known of its inputs, and
//! whether it ran.

use std::sync::Arc;

use kiln_cache::InputKey;
use kiln_graph::{Edge, Vertex};
use kiln_keys::CacheMap;
use kiln_oci::Digest;

use super::Scheduler;
use crate::JobId;
use crate::arena::NodeId;
use crate::node::{Life, Node, Preparation, Run, Target};

/// One vertex of a job.
#[derive(Clone, Debug)]
pub struct Account {
    /// The vertex.
    pub vertex: Arc<Vertex>,
    /// How it is keyed, as far as that was asked.
    pub maps: Vec<Arc<CacheMap>>,
    /// Its inputs, in order.
    pub inputs: Vec<AccountedInput>,
    /// What became of it.
    pub fate: Fate,
    /// It was found in the engine's own cache.
    pub was_found: bool,
}

/// One input of a vertex.
#[derive(Clone, Debug)]
pub struct AccountedInput {
    /// What stands for it.
    pub edge: Edge,
    /// The digest of its content, if the vertex is keyed by that and it was looked at.
    pub content: Option<Digest>,
    /// The keys by which it is looked up, or leads to what is saved.
    pub keys: Vec<InputKey>,
}

/// What became of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ran.
    Ran,
    /// It failed, or could not run because something that it reads failed.
    Failed,
    /// It was found, was the same as another, or was not needed.
    Spared,
}

impl<E: Clone> Scheduler<E> {
    /// Everything that a job has, inputs before what reads them, if any of it for which `counts` holds
    /// ran or failed; nothing otherwise.
    pub fn account(&self, job: JobId, counts: impl Fn(&Vertex) -> bool) -> Vec<Account> {
        let ids = self.jobs.nodes(job);
        let has_run = |id: &NodeId| {
            self.nodes
                .get(*id)
                .is_some_and(|node| fate(node) != Fate::Spared && counts(&node.vertex))
        };
        if !ids.iter().any(has_run) {
            return Vec::new();
        }
        let mut ids = ids.to_vec();
        // Nodes that came because they turned out to be the same as others may stand behind them.
        ids.sort_by_key(|id| self.nodes.get(*id).map_or(0, |node| node.height));
        ids.into_iter().filter_map(|id| self.account_of(id)).collect()
    }

    fn account_of(&self, id: NodeId) -> Option<Account> {
        let node = self.nodes.get(id)?;
        let input = |number: u32| {
            let own = &node.inputs[number as usize];
            let target = self.resolve(own.target);
            let vertex = self.nodes.get(target.node)?.vertex.id.clone();
            let content = match &own.preparation {
                Preparation::Done(digest) => digest.clone(),
                Preparation::None | Preparation::Busy(_) => None,
            };
            let mut keys = Vec::new();
            if node.mapping.map().is_some() {
                keys = self.keys(Target { node: id, output: 0 }, number);
                // What ignores the cache is not looked up by these, but saved.
                let saved = self.own_link_keys(id, number).into_iter();
                let more: Vec<_> = saved.filter(|key| !keys.contains(key)).collect();
                keys.extend(more);
            }
            Some(AccountedInput { edge: Edge { vertex, index: target.output }, content, keys })
        };
        Some(Account {
            vertex: Arc::clone(&node.vertex),
            maps: node.mapping.maps.clone(),
            inputs: node.numbers().filter_map(input).collect(),
            fate: fate(node),
            was_found: node.outputs.values().any(|output| !output.main.is_empty()),
        })
    }
}

fn fate<E>(node: &Node<E>) -> Fate {
    match (&node.life, node.run) {
        (Life::Failed { .. }, _) => Fate::Failed,
        (Life::Live, Run::Done) => Fate::Ran,
        (Life::Live | Life::Same(_), _) => Fate::Spared,
    }
}
