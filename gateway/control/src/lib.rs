//! The services on the socket: Control, the gateway for clients, content, traces, health, reflection.
//!
//! Messages come in, calls of the crates below go out, and their answers become messages again. Nothing is
//! decided here: what a build is, `kiln_build` knows; what is collected, the policies that the daemon hands
//! in. [`Services`] lists what is served; `control.rs` is BuildKit's Control API.

mod services;

mod content;
mod control;
mod explain;
mod reflection;
mod spans;

mod pruner;

pub use pruner::{Policies, Pruner};
pub use services::Services;
