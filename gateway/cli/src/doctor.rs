//! Whether builds will work on this machine, and what to do where they will not.
//!
//! [`look()`] finds out what there is, as facts; [`checks()`] decides what that means, which needs no
//! machine; [`report`] says it, to people and to programs. No daemon is asked.

mod checks;
mod facts;
mod look;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use checks::{Status, checks};
pub(crate) use look::look;
pub(crate) use report::{as_json, as_table};
