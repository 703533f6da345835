//! What became of a vertex of a job, with what the engine holds of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kiln_cache::InputKey;
use kiln_graph::{Edge, Vertex};
use kiln_keys::CacheMap;
use kiln_oci::Digest;
use kiln_solver::Fate;

use crate::Output;
use crate::held::Held;

/// One vertex of a job.
#[derive(Clone, Debug)]
pub struct Account<R> {
    /// The vertex.
    pub vertex: Arc<Vertex>,
    /// How it is keyed, as far as that was asked.
    pub maps: Vec<Arc<CacheMap>>,
    /// Its inputs, in order.
    pub inputs: Vec<AccountedInput>,
    /// What became of it.
    pub fate: Fate,
    /// It ran, whether or not it came to an end.
    pub has_run: bool,
    /// It was found in the engine's own cache.
    pub was_found: bool,
    /// Its results, by output, if it ran.
    pub results: BTreeMap<usize, Output<R>>,
}

/// One input of a vertex.
#[derive(Clone, Debug)]
pub struct AccountedInput {
    /// What stands for it.
    pub edge: Edge,
    /// The digest of its content, if the vertex is keyed by that and it was looked at.
    pub content: Option<Digest>,
    /// A list of what was looked at; see [`Content`](crate::Content).
    pub listing: Bytes,
    /// The keys by which it is looked up, or leads to what is saved.
    pub keys: Vec<InputKey>,
}

impl<R: Clone> Account<R> {
    pub(crate) fn new(account: kiln_solver::Account, held: Option<&Held<R>>) -> Self {
        let listing = |input: usize| held.and_then(|held| held.listings.get(&input)).cloned();
        let inputs = account.inputs.into_iter().enumerate().map(|(number, input)| AccountedInput {
            edge: input.edge,
            content: input.content,
            listing: listing(number).unwrap_or_default(),
            keys: input.keys,
        });
        let ran = held.filter(|_| account.fate == Fate::Ran);
        Self {
            vertex: account.vertex,
            maps: account.maps,
            inputs: inputs.collect(),
            fate: account.fate,
            has_run: held.is_some_and(|held| held.has_run),
            was_found: account.was_found,
            results: ran.map(|held| held.results.clone()).unwrap_or_default(),
        }
    }
}
