//! Decides what a build does next, and never does it.
//!
//! [`Scheduler`] is a state machine over the vertices of all running builds. It hears what happened
//! as [`Event`]s and answers with [`Action`]s. It owns no task, lock, clock or socket, so any build
//! can be replayed from its list of events. The `engine` crate carries the actions out.

mod action;
mod event;
mod node;
mod scheduler;
#[cfg(test)]
mod tests;

pub use action::{Action, Task, Work};
pub use event::{Event, JobId, RequestId, TaskId};
pub use scheduler::Scheduler;
