//! The parts of one machine: an operator per op kind over store, sources and executor.
//!
//! A [`Worker`] answers the engine: how a vertex is keyed, what is in its inputs as far as it reads
//! them, and what it makes of them. Results are refs of the store. Nothing here decides what runs
//! when. `BuildOp` has no operator here, because a nested build is a call of the bridge.

mod caches;
mod containers;
mod content;
mod devices;
mod emulators;
mod exec_mounts;
mod exec_op;
mod file_op;
mod files;
mod filter;
mod foreign;
mod host_command;
mod logs;
mod merge_diff_op;
mod pinned;
mod processes;
mod proxied;
pub mod read;
mod rerun;
mod scope;
mod secrets;
mod source_op;
mod steps;
mod sys;
mod vertex_map;
mod worker;

pub use caches::{CacheMounts, cache_mount_key, fresh_caches};
pub use containers::{Container, ContainerParts, Ended, Order, Started};
pub use emulators::EmulatorOptions;
pub use kiln_network::{Captured, Gap, Judge, Reason};
pub use kiln_store::{Files, FillError, Ref, Requester};
pub use proxied::JudgeGuard;
pub use rerun::compare_results;
pub use worker::{Worker, WorkerInfo, WorkerParts};
