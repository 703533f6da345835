//! What the scheduler hears.

use std::sync::Arc;

use kiln_cache::FoundRecord;
use kiln_graph::{Edge, Graph};
use kiln_keys::CacheMap;
use kiln_oci::Digest;

/// One client's build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One thing a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One piece of work that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// One of the caches that are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub usize);

impl SourceId {
    /// The cache in which results are saved.
    pub const MAIN: Self = Self(0);
}

/// What happened outside. `E` is the error of a failed task, which the scheduler only passes on.
#[derive(Clone, Debug)]
pub enum Event<E> {
    /// A job asks for a result.
    Requested {
        /// Who.
        job: JobId,
        /// The name of this request, new each time.
        request: RequestId,
        /// The graph that has it.
        graph: Arc<Graph>,
        /// The result.
        edge: Edge,
    },
    /// How a vertex is keyed, and whether that is all: vertices without inputs may have several maps.
    Mapped(TaskId, CacheMap, bool),
    /// What all caches together have.
    LookedUp(TaskId, Answers),
    /// An input is ready to be used; with the digest of its content, if that was asked for.
    Prepared(TaskId, Option<Digest>),
    /// The result of a record was loaded.
    Loaded(TaskId),
    /// It could not be: it is worth nothing, and the next one is tried.
    NotLoaded(TaskId),
    /// A vertex ran and gave this many outputs.
    Executed(TaskId, usize),
    /// What was to be saved is saved, as far as it could be.
    Saved(TaskId),
    /// A task failed, and with it its vertex.
    Failed(TaskId, E),
    /// A task could not go on without someone who left meanwhile, such as a client that was asked for
    /// files. If a job has left since the task began, the task begins again for those who stay;
    /// otherwise it has failed.
    Interrupted(TaskId, E),
    /// A job ended, or was cancelled.
    Closed(JobId),
}

/// What all caches together answer to a look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The records that were found, each with the cache that has it.
    pub records: Vec<(SourceId, FoundRecord)>,
    /// The inputs that lead to some record in some cache.
    pub linked: Vec<u32>,
}
