//! BuildKit's protocols spoken: gRPC services, typed status details and the session tunnel.
//!
//! The services are generated from `schemas/*/*.proto` when the crate is built; their messages
//! are those of `kiln-pb`. Nothing here decides anything: see [`proto`] for the services, [`status`]
//! for errors with details, [`tunnel`] for gRPC inside gRPC. Who answers calls needs the feature
//! `server`; without it there are clients only.

#[cfg(feature = "server")]
pub mod authority;
pub mod channel;
pub mod proto;
#[cfg(feature = "server")]
mod serving;
pub mod status;
pub mod tunnel;

pub use kiln_pb::{caps, pb};

/// The largest gRPC message in either direction, in bytes (containerd's default).
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
