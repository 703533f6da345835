//! Which nodes turn out to be the same.
//!
//! Two nodes are the same if they do the same, on inputs of which each pair is the same too: because
//! the same node stands for both, or because what is read of both has the same content. A node's
//! *signature* is a sum over what it does and one term for each input, so that a change of one input
//! costs the same however many there are. Equal signatures are only a hint; who finds one compares.

use std::collections::HashMap;

use kiln_oci::{Digest, Hasher};

use crate::arena::NodeId;
use crate::node::{Life, Node, Preparation, Run, State, Target};

/// A sum over what a node does and reads.
pub(crate) type Signature = u128;

/// Live nodes by their signatures.
#[derive(Debug, Default)]
pub(crate) struct MergeIndex(HashMap<Signature, NodeId>);

impl MergeIndex {
    pub(crate) fn get(&self, signature: Signature) -> Option<NodeId> {
        self.0.get(&signature).copied()
    }

    pub(crate) fn insert(&mut self, signature: Signature, node: NodeId) {
        self.0.insert(signature, node);
    }

    /// Takes a signature out, if it is this node's.
    pub(crate) fn remove(&mut self, signature: Signature, node: NodeId) {
        if self.get(signature) == Some(node) {
            self.0.remove(&signature);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What counts of one input.
enum Term<'a> {
    /// Which output of which node stands for it, and what is read of that.
    Target(Target, Option<&'a Digest>),
    /// What is in it.
    Content(&'a Digest),
}

fn sum(parts: &[&[u8]]) -> Signature {
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finish();
    // 32 hexadecimal digits are 128 bits.
    u128::from_str_radix(&digest.hex()[..32], 16).unwrap_or_default()
}

fn term(number: usize, term: &Term<'_>) -> Signature {
    let number = number.to_le_bytes();
    match term {
        Term::Target(target, selector) => {
            let node = target.node.number().to_le_bytes();
            let output = target.output.to_le_bytes();
            let selector = selector.map_or("", Digest::as_str).as_bytes();
            sum(&[b"target", &number, &node, &output, selector])
        }
        Term::Content(digest) => sum(&[b"content", &number, digest.as_str().as_bytes()]),
    }
}

impl<E> Node<E> {
    /// What a node does: for one without inputs, that is all.
    fn deed(&self, map: usize) -> Option<Signature> {
        let map = self.mapping.maps.get(map)?;
        let scope: &[u8] = if map.session_scoped { b"session" } else { b"" };
        let ignores: &[u8] = if self.ignores_cache() { b"ignore" } else { b"" };
        let inputs = self.inputs.len().to_le_bytes();
        Some(sum(&[map.digest.as_str().as_bytes(), scope, ignores, &inputs]))
    }

    fn by_target(&self, number: usize) -> Term<'_> {
        let dep = self.mapping.map().and_then(|map| map.deps.get(number));
        let selector = dep.and_then(|dep| dep.selector.as_ref());
        Term::Target(self.inputs[number].target, selector.map(|selector| &selector.digest))
    }

    fn digest(&self, number: usize) -> Option<&Digest> {
        match &self.inputs[number].preparation {
            Preparation::Done(digest) => digest.as_ref(),
            Preparation::None | Preparation::Busy(_) => None,
        }
    }

    /// The signatures of what is known: those of all maps of a node without inputs, or that of
    /// a node with inputs, by what stands for them.
    pub(crate) fn signatures_by_target(&self) -> Vec<Signature> {
        if self.inputs.is_empty() {
            return (0..self.mapping.maps.len()).filter_map(|map| self.deed(map)).collect();
        }
        let terms = (0..self.inputs.len()).map(|input| term(input, &self.by_target(input)));
        let deed = self.deed(0);
        deed.map(|deed| terms.fold(deed, Signature::wrapping_add)).into_iter().collect()
    }

    /// How much the signature changes when something else stands for an input.
    pub(crate) fn signature_change(&self, input: usize, before: Target) -> Signature {
        let now = self.by_target(input);
        let Term::Target(_, selector) = &now else { return 0 };
        term(input, &now).wrapping_sub(term(input, &Term::Target(before, *selector)))
    }

    /// The signature by contents, where they count and are known.
    pub(crate) fn signature_by_content(&self) -> Option<Signature> {
        let of_input = |input| match self.digest(input) {
            Some(digest) => term(input, &Term::Content(digest)),
            None => term(input, &self.by_target(input)),
        };
        let deed = self.deed(0)?;
        Some((0..self.inputs.len()).map(of_input).fold(deed, Signature::wrapping_add))
    }

    /// Whether two nodes are the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        if self.inputs.len() != other.inputs.len() || self.ignores_cache() != other.ignores_cache()
        {
            return false;
        }
        let mut maps = self.mapping.maps.iter();
        let does_same = maps.any(|map| {
            let same = |other: &std::sync::Arc<kiln_keys::CacheMap>| {
                map.digest == other.digest && map.session_scoped == other.session_scoped
            };
            other.mapping.maps.iter().any(same)
        });
        does_same && (0..self.inputs.len()).all(|input| self.reads_same(other, input))
    }

    fn reads_same(&self, other: &Self, input: usize) -> bool {
        let by_content = self.digest(input).is_some() && self.digest(input) == other.digest(input);
        let (Term::Target(own, own_part), Term::Target(others, others_part)) =
            (self.by_target(input), other.by_target(input))
        else {
            return by_content;
        };
        by_content || (own == others && own_part == others_part)
    }

    /// How far it is, as far as that forbids to let another node take its place.
    pub(crate) fn progress(&self) -> Progress {
        if matches!(self.life, Life::Failed { .. } | Life::Same(_)) {
            return Progress::Over;
        }
        if self.run != Run::No {
            return Progress::Runs;
        }
        let has_begun = |state: &State| matches!(state, State::Loading { .. } | State::Complete);
        match self.outputs.values().any(|output| has_begun(&output.state)) {
            true => Progress::Loads,
            false => Progress::Waits,
        }
    }
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for its inputs.
    Waits,
    /// Some of its results are or were loaded; for others it may have to wait.
    Loads,
    /// It runs or ran, so all of its inputs are there: it waits for nothing any more.
    Runs,
    /// It failed, or is no node of its own.
    Over,
}

/// Which of two equal nodes takes the place of the other; `None` if neither may.
///
/// Who waits may only be replaced by who is not higher, since that one cannot wait for it in turn, or
/// by who waits for nothing. What runs or was loaded is not thrown away.
pub(crate) fn survivor<E>(
    (old, old_id): (&Node<E>, NodeId),
    (new, new_id): (&Node<E>, NodeId),
) -> Option<(NodeId, NodeId)> {
    let may_replace = |survivor: &Node<E>, other: &Node<E>| {
        other.progress() == Progress::Waits
            && match survivor.progress() {
                Progress::Runs => true,
                Progress::Waits | Progress::Loads => survivor.height <= other.height,
                Progress::Over => false,
            }
    };
    if old.progress() == Progress::Waits && new.progress() == Progress::Runs {
        return Some((new_id, old_id));
    }
    if may_replace(old, new) {
        return Some((old_id, new_id));
    }
    may_replace(new, old).then_some((new_id, old_id))
}
