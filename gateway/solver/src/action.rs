//! What the scheduler asks for.

use std::sync::Arc;

use kiln_cache::{CacheKey, Lookup, SavedRecord, SavedResult};
use kiln_graph::{Edge, Vertex};
use kiln_keys::ContentQuery;
use kiln_oci::Digest;

use crate::{JobId, RequestId, SourceId, TaskId};

/// What the engine should do about what happened. Results are named by the vertex that has them,
/// which may be another than the one that was asked for: equal vertices share one result.
#[derive(Clone, Debug)]
pub enum Action<E> {
    /// A job has this vertex from now on: it is shown there, and may use the job's sessions.
    Join(JobId, Arc<Vertex>),
    /// A job has left this vertex.
    Leave(JobId, Digest),
    /// Start a task; it ends with exactly one event that carries its id.
    Start(Task),
    /// Stop a task; no event is needed.
    Cancel(TaskId),
    /// The vertex need not run: say so to those who watch.
    Cached(Digest),
    /// Forget a result that could not be loaded.
    Forget(SourceId, SavedResult),
    /// Drop everything that is held for a vertex, its results above all.
    Drop(Digest),
    /// A request is answered: with where the result is, or with what failed.
    Finish(RequestId, Result<Edge, E>),
}

/// A piece of work of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The vertex.
    pub vertex: Digest,
    /// What to do.
    pub work: Work,
}

/// What to do for a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Ask how it is keyed; the number counts the maps that are known already.
    Map(usize),
    /// Ask all caches.
    LookUp(Lookup),
    /// Make an input usable, and find out what is in it, if that is asked.
    Prepare {
        /// The number of the input.
        input: usize,
        /// Where its result is.
        from: Edge,
        /// What to look at.
        content: Option<ContentQuery>,
        /// The vertex wants its layers to be there.
        preprocess: bool,
    },
    /// Load an output from a cache.
    Load {
        /// The number of the output.
        output: usize,
        /// Which result of which cache.
        from: Candidate,
    },
    /// Run it on these results.
    Exec(Vec<Edge>),
    /// Save how records are reached, and results of outputs under their records.
    Save {
        /// How records are reached.
        records: Vec<SavedRecord>,
        /// Outputs with the records that their results are for.
        results: Vec<(usize, Vec<CacheKey>)>,
        /// When the results were made, in nanoseconds since 1970, if that was not just now.
        created: Option<u64>,
    },
}

/// A result that may stand for an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The cache that has it.
    pub source: SourceId,
    /// Its record there.
    pub record: CacheKey,
    /// The result.
    pub result: SavedResult,
}
