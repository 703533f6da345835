//! The parts of one machine: an operator per op kind over store, sources and executor.
//!
//! A [`Worker`] answers the engine: how a vertex is keyed, what is in its inputs as far as it reads
//! them, and what it makes of them. Results are refs of the store. Nothing here decides what runs
//! when. `BuildOp` has no operator here, because a nested build is a call of the bridge.

mod content;
mod exec_op;
mod file_op;
mod files;
mod filter;
mod host_command;
mod merge_diff_op;
mod pinned;
mod rerun;
mod source_op;
mod sys;
mod vertex_map;
mod worker;

pub use kiln_container::Containers;
pub use kiln_store::{Files, FillError, LostLayer, Ref, Requester};
pub use rerun::compare_results;
pub use worker::{Worker, WorkerInfo, WorkerParts};
