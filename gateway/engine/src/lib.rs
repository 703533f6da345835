//! Performs what the solver decides: jobs, operators and their results.
//!
//! One task owns the `Scheduler` of the `solver` crate; it starts what the scheduler asks for as
//! tasks of its own and tells the scheduler how they ended. What an operation means is behind
//! [`Operators`]; what a result is, is `R`, which only the worker knows. Read [`Job`] first, then
//! `driver.rs`.

mod driver;
mod error;
mod job;
mod operator;
#[cfg(test)]
mod tests;

pub use driver::{Engine, EngineOptions};
pub use error::{ErrorKind, OpError, SolveError};
pub use job::{Job, JobContext, Sessions};
pub use operator::{Operator, Operators, Output};
