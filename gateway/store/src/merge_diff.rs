//! Refs made of other refs: merged on top of each other, or what one has and another lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Store;
use crate::difference::{self, Written};
use crate::error::{StoreError, blocking};
use crate::fill::FillError;
use crate::growing_view::GrowingView;
use crate::index::LayerRow;
use crate::layer::{Layer, Snapshot};
use crate::provider::Requester;
use crate::rebase;
use crate::refs::{Files, Ref};
use crate::stacked::Stacked;

/// Why a difference could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The machine beneath failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Stacks refs on top of each other, the first at the bottom. The layers are shared, which costs
    /// nothing, but for those that would say too much in their new place.
    ///
    /// A layer that occurs several times is kept where it occurs last, which shows the same files;
    /// so a base that all have in common is applied again over what the earlier ones changed in
    /// it, as BuildKit does. Merge differences ([`Store::diff`]) to avoid that. That it was there
    /// before is remembered, for differences to what stood below it. No refs at all give an empty
    /// one.
    ///
    /// A directory that a layer has only because something was put below it
    /// ([`MutableRef::set_implied`](crate::MutableRef::set_implied)) does not change one of its name
    /// that is below: such a layer is replaced by one that shares its files and has the directories
    /// of what is below it. Exported, that layer has the directory with the attributes it had, rather
    /// than no entry for it, because there are programs that unpack a layer apart from the others and
    /// give missing directories attributes of their own.
    ///
    /// # Errors
    ///
    /// If a layer that has to be replaced cannot be read or written. Only then the files of the others
    /// are looked at, and fetched for the requester if they are not here.
    pub async fn merge(&self, refs: &[Ref], requester: &Requester) -> Result<Ref, FillError> {
        let mut seen = BTreeSet::new();
        let mut layers: Vec<Arc<Layer>> = refs
            .iter()
            .rev()
            .flat_map(|r| r.layers().iter().rev())
            .filter(|layer| seen.insert(layer.number()))
            .cloned()
            .collect();
        layers.reverse();
        let stacks = refs.iter().map(|r| (&r.inner.stacked, r.layers()));
        let mut stacked = Stacked::merged(stacks, &layers);
        let first = first_moved(refs, &layers);
        if first >= layers.len() {
            return Ok(Ref::stacked(&self.inner, layers, stacked));
        }
        let mut files = Vec::with_capacity(refs.len());
        for r in refs {
            files.push(r.files(requester).await?);
        }
        let all = files.iter().flat_map(Files::layers);
        let all: BTreeMap<u64, &Snapshot> = all.map(|layer| (layer.number(), layer)).collect();
        let snapshots =
            layers.iter().filter_map(|layer| all.get(&layer.number()).copied().cloned());
        let mut snapshots: Vec<Snapshot> = snapshots.collect();
        let store = self.inner.clone();
        blocking(move || {
            let mut replacements = BTreeMap::new();
            let places = places(&files);
            let mut below = GrowingView::new(store.user_namespace);
            for (at, layer) in snapshots.iter_mut().enumerate() {
                if at >= first {
                    // The layers that it was made on, as far as the refs that are merged say it.
                    let own = places.get(&layer.number());
                    let own = own.map_or(&[][..], |(of, place)| &files[*of].layers()[..*place]);
                    if let Some(replaced) = rebase::onto(&store, &mut below, layer, own)? {
                        replacements.insert(layer.number(), replaced.number());
                        *layer = replaced;
                    }
                }
                below.push(layer.path());
            }
            stacked.replace(&replacements);
            let layers: Vec<_> = snapshots.iter().map(Snapshot::layer).collect();
            let stacked = stacked.tidy(&layers);
            Ok(Ref::stacked(&store, layers, stacked))
        })
        .await
    }

    /// What has to be put on top of `lower` to get `upper`; `None` if that is nothing.
    ///
    /// If `upper` was put on top of `lower`, these are the layers that were put there, as long as those
    /// that are new hold no more than what differs; that takes a look at each of their entries. What
    /// they delete they delete wherever they come to lie, even what `lower` did not have. Otherwise
    /// both are compared file by file and the differences become a new layer, which shares the data
    /// of the files with `upper`.
    pub async fn diff(
        &self,
        lower: Option<&Files>,
        upper: Option<&Files>,
    ) -> Result<Option<Ref>, DiffError> {
        if let Some((rest, stacked)) = above(lower, upper) {
            let all = upper.map(Files::layers).unwrap_or_default().to_vec();
            let old = lower.map(Files::layers).unwrap_or_default();
            // What was there before is put there again as it is.
            let again: BTreeSet<u64> = old.iter().map(|layer| layer.number()).collect();
            let new: Vec<bool> = all
                .iter()
                .map(|layer| rest.contains(&layer.number()) && !again.contains(&layer.number()))
                .collect();
            let layers: Vec<_> = all.iter().map(Snapshot::layer).collect();
            let user_namespace = self.inner.user_namespace;
            if blocking(move || are_exact(&all, &new, user_namespace)).await? {
                let rest: Vec<_> =
                    layers.into_iter().filter(|layer| rest.contains(&layer.number())).collect();
                let stacked = stacked.tidy(&rest);
                let made = || Ref::stacked(&self.inner, rest.clone(), stacked);
                return Ok((!rest.is_empty()).then(made));
            }
        }
        let lower = lower.map(Files::layers).unwrap_or_default();
        let upper = upper.map(Files::layers).unwrap_or_default();
        let (store, lower, upper) = (self.inner.clone(), lower.to_vec(), upper.to_vec());
        blocking(move || {
            store.check_reserve()?;
            let number = store.new_snapshot()?;
            let root = store.layer_files(number);
            match difference::write(&lower, &upper, &root, store.user_namespace) {
                Ok(Some(Written { hides, implied })) => {
                    let row = LayerRow { whiteouts: hides, implied, ..LayerRow::default() };
                    let layer = Layer::register(&store, number, row);
                    Ok(Some(Ref::new(&store, vec![layer.layer()])))
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

/// The numbers of the layers that were put on top of others, if they were, and what is remembered of
/// them.
fn above(lower: Option<&Files>, upper: Option<&Files>) -> Option<(BTreeSet<u64>, Stacked)> {
    let below = lower.map(|files| files.of().inner.stacked.order(files.of().layers()));
    let below = below.unwrap_or_default();
    let Some(upper) = upper.map(Files::of) else {
        return below.is_empty().then(Default::default);
    };
    let (rest, stacked) = upper.inner.stacked.above(upper.layers(), &below)?;
    Some((rest.into_iter().collect(), stacked))
}

/// Whether the layers that are new say what differs, and nothing else.
fn are_exact(
    layers: &[Snapshot],
    is_new: &[bool],
    user_namespace: bool,
) -> Result<bool, StoreError> {
    for (at, layer) in layers.iter().enumerate().filter(|(at, _)| is_new[*at]) {
        if !layer.is_view() && !difference::is_exact(&layers[..at], layer, user_namespace)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The last ref that has each layer, and where.
fn places(refs: &[Files]) -> BTreeMap<u64, (usize, usize)> {
    let of = |(number, files): (usize, &Files)| {
        let layers = files.layers().iter().enumerate();
        layers.map(|(place, layer)| (layer.number(), (number, place))).collect::<Vec<_>>()
    };
    refs.iter().enumerate().flat_map(of).collect()
}

/// The place of the first layer that has others below it than it was made for. Those above it have,
/// too.
fn first_moved(refs: &[Ref], layers: &[Arc<Layer>]) -> usize {
    let at_home = |r: &Ref| {
        let pairs = r.layers().iter().zip(layers);
        pairs.take_while(|(own, layer)| own.number() == layer.number()).count()
    };
    refs.iter().map(at_home).max().unwrap_or(0).max(1)
}
