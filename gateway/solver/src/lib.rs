//! Decides what a build does next, and never does it.
//!
//! [`Scheduler`] is a state machine over the vertices of all running builds. It hears what happened
//! as [`Event`]s and answers with [`Action`]s. It owns no task, lock, clock or socket, so any build
//! can be replayed from its list of events. The `engine` crate carries the actions out.
//!
//! # How a result is found
//!
//! What is asked of an edge comes in three depths: the *definition keys* of the records that stand for
//! it, found without running or loading anything; its *content keys*, for which contents of its inputs
//! may have to be looked into; its *result*. An edge asks as little of its inputs as it can, and every
//! answer may be enough for who asks:
//!
//! 1. The vertex says how it is keyed ([`Work::Map`]), while its inputs find their definition keys.
//! 2. The caches are asked ([`Work::LookUp`]). A record that all inputs lead to ends the search, whether
//!    it has a result or is only a step to what was really asked for.
//! 3. An input that leads nowhere by definition is asked for its content keys; then, where the vertex
//!    reads it by content, for its result, whose digest is looked up. See `search.rs`.
//! 4. The best result of the records is loaded ([`Work::Load`]); one that cannot be loaded is forgotten,
//!    and the next one tried.
//! 5. If nothing is left, the vertex runs ([`Work::Exec`]), and its outputs are saved under all keys
//!    that lead to them ([`Work::Save`]), so that the next build finds them by either.
//!
//! # How much it costs
//!
//! Every change touches what it changes and nothing else: open inputs are counted, never searched. A
//! result is worked out once for all jobs that share its vertex, and once for vertices that turn out to
//! be the same (`merge.rs`). Jobs take turns ([`Scheduler::run`]), so the work of one delays another by
//! no more than its share. Nothing recurses, however long a chain is.
//!
//! # What is remembered
//!
//! A failure is answered to every job that was there, for as long as it is there; a job that comes later
//! tries again. What is cancelled because no one asks for it any more has not failed.

mod action;
mod event;
mod scheduler;

mod level;
mod merge;
mod node;
mod queue;
mod search;

mod arena;

#[cfg(test)]
mod tests;

pub use action::{Action, Candidate, Task, Work};
pub use event::{Answers, Event, JobId, RequestId, SourceId, TaskId};
pub use scheduler::{Account, AccountedInput, Fate, Scheduler, Step, Trail};
