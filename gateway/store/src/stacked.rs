//! What a ref remembers beside its layers: how it was put together, and of which blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::layer::Layer;

/// How many layers that were left out are remembered, besides as many as there are.
const MOST_REPEATED: usize = 64;

/// How the layers of a ref came to lie on each other. Says nothing for most refs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stacked {
    /// The numbers of the layers as they were stacked, bottom first, with those that a merge left
    /// out because they come again further up. Empty if none was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    order: Vec<u64>,
    /// Which of the blobs of a layer this ref was made of, where that is not the first one: two
    /// images may have the same layer, each compressed in its own way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    blobs: BTreeMap<u64, Digest>,
}

impl Stacked {
    /// Whether there is nothing to remember.
    pub(crate) fn is_plain(&self) -> bool {
        self.order.is_empty() && self.blobs.is_empty()
    }

    /// The layers as they were stacked, bottom first, for a ref that has `layers`.
    pub(crate) fn order(&self, layers: &[Arc<Layer>]) -> Vec<u64> {
        match self.order.is_empty() {
            true => layers.iter().map(|layer| layer.number()).collect(),
            false => self.order.clone(),
        }
    }

    /// The same with another layer on top.
    pub(crate) fn with(mut self, top: u64) -> Self {
        if !self.order.is_empty() {
            self.order.push(top);
        }
        self
    }

    /// Notes that a layer is to be had as this blob.
    pub(crate) fn choose(&mut self, layer: u64, blob: Digest) {
        self.blobs.insert(layer, blob);
    }

    /// The blob that was chosen for a layer.
    pub(crate) fn blob(&self, layer: u64) -> Option<&Digest> {
        self.blobs.get(&layer)
    }

    /// What is remembered of several refs on top of each other, of which `layers` stay.
    pub(crate) fn merged<'a>(
        refs: impl Iterator<Item = (&'a Self, &'a [Arc<Layer>])>,
        layers: &[Arc<Layer>],
    ) -> Self {
        let mut merged = Self::default();
        for (stacked, own) in refs {
            merged.order.extend(stacked.order(own));
            merged.blobs.extend(stacked.blobs.clone());
        }
        merged.tidy(layers)
    }

    /// Puts layers in the place of others, where those are on top of what they hide.
    pub(crate) fn replace(&mut self, replacements: &BTreeMap<u64, u64>) {
        let mut seen = BTreeSet::new();
        for number in self.order.iter_mut().rev() {
            if let Some(new) = replacements.get(number)
                && seen.insert(*number)
            {
                *number = *new;
            }
        }
    }

    /// What remains on top of something that was stacked first: the numbers of the layers, and what is
    /// remembered of them. `None` if this was not put on top of it.
    pub(crate) fn above(&self, layers: &[Arc<Layer>], below: &[u64]) -> Option<(Vec<u64>, Self)> {
        let order = self.order(layers);
        let rest = order.strip_prefix(below)?.to_vec();
        Some((rest.clone(), Self { order: rest, blobs: self.blobs.clone() }))
    }

    /// Leaves out what is not worth remembering of a ref with these layers.
    pub(crate) fn tidy(mut self, layers: &[Arc<Layer>]) -> Self {
        let numbers: BTreeSet<u64> = layers.iter().map(|layer| layer.number()).collect();
        self.blobs.retain(|number, _| numbers.contains(number));
        let is_plain = self.order.iter().copied().eq(layers.iter().map(|layer| layer.number()));
        // Merges of merges of the same double it each time.
        if is_plain || self.order.len() > MOST_REPEATED + 2 * layers.len() {
            self.order.clear();
        }
        self
    }
}
