//! The stages of a file and the images they use, as a graph.
//!
//! Nodes are added in the order of the file; images that only `COPY --from` or a mount names follow.
//! Numbers and names of stages mean what they mean at the reference, odd cases included.

use std::collections::{BTreeSet, HashMap};

use super::node::{Node, NodeId};
use crate::lines::Lines;
use crate::mistake::Mistake;

/// The nodes of a build.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
}

impl Graph {
    /// Adds a node. It starts from an earlier stage if its base is the name of one.
    pub(crate) fn add(&mut self, mut node: Node) -> NodeId {
        let id = NodeId(self.nodes.len());
        if let Some(&base) = self.by_name.get(&node.origin.base_name) {
            node.base = Some(base);
            node.outline = self.node_mut(base).outline.heir();
        }
        if let Some(name) = &node.origin.name {
            self.by_name.insert(name.to_lowercase(), id);
        }
        self.nodes.push(node);
        id
    }

    /// A node.
    #[expect(clippy::indexing_slicing, reason = "ids are made by `add` only, nodes stay")]
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// A node to change.
    #[expect(clippy::indexing_slicing, reason = "ids are made by `add` only, nodes stay")]
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every id, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The stage of this name, in any case.
    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// The node of this number.
    pub(crate) fn nth(&self, index: i64) -> Result<NodeId, Mistake> {
        usize::try_from(index)
            .ok()
            .filter(|index| *index < self.nodes.len())
            .map(NodeId)
            .ok_or_else(|| Mistake::new(format!("invalid stage index {index}")))
    }

    /// The last node.
    pub(crate) fn last(&self) -> Option<NodeId> {
        self.nodes.len().checked_sub(1).map(NodeId)
    }

    /// The names of all stages, in order.
    pub(crate) fn labels(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.label.as_str()).filter(|l| !l.is_empty()).collect()
    }

    /// The stage that is asked for; the last one if none is.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub(crate) fn target(&self, name: &str) -> Result<NodeId, Mistake> {
        if name.is_empty() {
            let last = self.last();
            return last.ok_or_else(|| Mistake::new("dockerfile contains no stages to build"));
        }
        self.find(name).ok_or_else(|| {
            let message =
                format!("target stage {} could not be found", crate::quoting::quote(name));
            Mistake::new(crate::suggest::hint(message, name, self.labels(), true))
        })
    }

    /// Every node that is needed for one.
    pub(crate) fn reachable(&self, from: NodeId) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            if found.insert(id) {
                let node = self.node(id);
                open.extend(node.base);
                open.extend(node.dependencies.iter().map(|(dependency, _)| *dependency));
            }
        }
        found
    }

    /// Refuses stages that wait for each other.
    ///
    /// # Errors
    ///
    /// The first stage of the file on whose way there is a circle, with all instructions of the way.
    pub(crate) fn refuse_circles(&self) -> Result<(), Mistake> {
        let mut visited = vec![false; self.nodes.len()];
        for id in self.ids() {
            if let Some(way) = self.circle(id, &mut visited) {
                let label = &self.node(id).label;
                let mistake =
                    Mistake::new(format!("circular dependency detected on stage: {label}"));
                return Err(way.into_iter().fold(mistake, Mistake::at));
            }
        }
        Ok(())
    }

    /// The instructions on the way from a node into a circle. Keeps its own stack: a file may have
    /// any number of stages.
    fn circle(&self, from: NodeId, visited: &mut [bool]) -> Option<Vec<Lines>> {
        /// A node on the way, how many of its dependencies were looked at, and what led to it.
        struct Frame {
            id: NodeId,
            next: usize,
            by: Lines,
        }
        let mut way: Vec<Frame> = Vec::new();
        let mut enter = Some((from, Lines::NOWHERE));
        loop {
            if let Some((id, by)) = enter.take()
                && let Some(seen) = visited.get_mut(id.0).filter(|seen| !**seen)
            {
                *seen = true;
                way.push(Frame { id, next: 0, by });
            }
            let frame = way.last_mut()?;
            let Some(&(dependency, lines)) = self.node(frame.id).dependencies.get(frame.next)
            else {
                way.pop();
                continue;
            };
            frame.next += 1;
            if way.iter().any(|frame| frame.id == dependency) {
                // Nothing led to the first.
                let way = way.iter().skip(1).map(|frame| frame.by);
                return Some(way.chain([lines]).collect());
            }
            enter = Some((dependency, lines));
        }
    }
}
