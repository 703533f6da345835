//! What the scheduler hears.

use std::sync::Arc;

use kiln_cache::{CacheMap, CacheRecord};
use kiln_graph::{Edge, Graph};
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

/// What happened outside. `E` is the error of a failed task, which the scheduler only passes on.
#[derive(Clone, Debug)]
pub enum Event<E> {
    /// A job wants a result.
    Wanted {
        /// Who.
        job: JobId,
        /// The name of this wish, new each time.
        request: RequestId,
        /// The graph that has it.
        graph: Arc<Graph>,
        /// The result.
        edge: Edge,
    },
    /// How a vertex is keyed.
    Mapped(TaskId, CacheMap),
    /// A look-up ended, with or without a record.
    Found(TaskId, Option<CacheRecord>),
    /// The content of an input is known.
    Digested(TaskId, Digest),
    /// The results of a record were loaded.
    Loaded(TaskId),
    /// They could not be: the record is worth nothing.
    NotLoaded(TaskId),
    /// A vertex ran and gave this many outputs.
    Executed(TaskId, usize),
    /// A record was kept.
    Saved(TaskId),
    /// A task failed, and with it its vertex.
    Failed(TaskId, E),
    /// A job ended, or was cancelled.
    Closed(JobId),
}
