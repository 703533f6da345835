//! Performs what the solver decides: jobs, operators and their results.
//!
//! One task owns the `Scheduler` of the `solver` crate; it starts what the scheduler asks for as
//! tasks of its own and tells the scheduler how they ended. What an operation means is behind
//! [`Operators`]; what a result is, is `R`, which only the worker knows. Read [`Job`] first, then
//! `driver.rs`.

mod account;
mod engine;
mod job;

mod error;
mod operator;

mod driver;
mod held;
mod perform;

#[cfg(test)]
mod tests;

pub use account::{Account, AccountedInput};
pub use engine::{Engine, EngineOptions};
pub use error::{ErrorKind, ExecError, OpError, SolveError, Subject};
pub use job::{Job, JobContext, JobOptions, Sessions};
pub use kiln_solver::{Fate, Step};
pub use operator::{Content, Keyed, Operator, Operators, Output};
