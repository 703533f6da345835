//! Everything that is tested from outside the crates, as one program.
//!
//! Each module holds the workspace to one kind of promise; what they need in common (daemons,
//! servers, fixtures) is in the library of this crate.

#![expect(clippy::print_stderr, reason = "a test says aloud what it skips")]

mod api;
mod architecture;
mod e2e;
mod packaging;
mod readme;
mod sdk_api;
mod vectors;
