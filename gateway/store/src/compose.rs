//! Refs made of other refs: merged on top of each other, or what one has and another lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Store;
use crate::difference;
use crate::error::{StoreError, blocking};
use crate::index::LayerRow;
use crate::layer::Layer;
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
    /// A layer that occurs several times is kept where it occurs last, which shows the same files;
    /// so a base that all have in common is applied again over what the earlier ones changed in
    /// it, as BuildKit does. Merge differences ([`Store::diff`]) to avoid that. No refs at all
    /// give an empty one.
    pub fn merge(&self, refs: &[Ref]) -> Result<Ref, StoreError> {
        let mut seen = BTreeSet::new();
        let mut layers: Vec<Arc<Layer>> = refs
            .iter()
            .rev()
            .flat_map(|r| r.layers().iter().rev())
            .filter(|layer| seen.insert(layer.number()))
            .cloned()
            .collect();
        layers.reverse();
        Ok(Ref::new(&self.inner, layers))
    }

    /// What has to be put on top of `lower` to get `upper`; `None` if that is nothing.
    ///
    /// If `upper` stands on `lower`, these are its further layers, which costs nothing. Otherwise
    /// both are compared file by file and the differences become a new layer, which shares the
    /// data of the files with `upper`.
    pub async fn diff(
        &self,
        lower: Option<&Ref>,
        upper: Option<&Ref>,
    ) -> Result<Option<Ref>, DiffError> {
        let lower = lower.map(Ref::layers).unwrap_or_default();
        let upper = upper.map(Ref::layers).unwrap_or_default();
        let same = |(a, b): (&Arc<Layer>, &Arc<Layer>)| a.number() == b.number();
        if lower.len() <= upper.len() && lower.iter().zip(upper).all(same) {
            let rest = upper[lower.len()..].to_vec();
            return Ok((!rest.is_empty()).then(|| Ref::new(&self.inner, rest)));
        }
        let (store, lower, upper) = (self.inner.clone(), lower.to_vec(), upper.to_vec());
        blocking(move || {
            store.check_reserve()?;
            let number = store.new_snapshot()?;
            let root = store.layer_files(number);
            match difference::write(&lower, &upper, &root, store.user_namespace) {
                Ok(Some(whiteouts)) => {
                    let row = LayerRow { whiteouts, ..LayerRow::default() };
                    let layer = Layer::register(&store, number, row);
                    Ok(Some(Ref::new(&store, vec![layer])))
                }
                Ok(None) => {
                    store.abandon(number);
                    Ok(None)
                }
                Err(error) => {
                    store.abandon(number);
                    Err(error.into())
                }
            }
        })
        .await
    }
}
