//! What the scheduler wants.

use kiln_cache::CacheKey;
use kiln_oci::Digest;

use crate::{RequestId, TaskId};

/// What the engine should do about an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<E> {
    /// Start a task; it ends with exactly one event that carries its id.
    Start(Task),
    /// Stop a task; no event is needed.
    Cancel(TaskId),
    /// The vertex need not run: tell those who watch.
    Cached(Digest),
    /// Forget a record that could not be loaded, by its content key.
    Forget(CacheKey),
    /// Forget the results of a vertex; nobody wants them any more.
    Drop(Digest),
    /// A wish is fulfilled, or cannot be.
    Finish(RequestId, Result<(), E>),
}

/// A piece of work of one vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The vertex.
    pub vertex: Digest,
    /// What to do.
    pub work: Work,
}

/// What to do for a vertex.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Ask how it is keyed.
    Map,
    /// Look a key up.
    Lookup(CacheKey),
    /// Find out the content of an input, whose result is there.
    Digest(usize),
    /// Load these outputs of the record that was found.
    Load(Vec<usize>),
    /// Run it; the results of all inputs are there.
    Exec,
    /// Keep its results under its content key, and under its definition key if there is one.
    Save {
        /// The content key.
        key: CacheKey,
        /// The definition key.
        also: Option<CacheKey>,
    },
    /// Let the definition key lead to the record that was found.
    Link {
        /// The definition key.
        from: CacheKey,
    },
}
