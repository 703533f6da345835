//! BuildKit's protocols as Rust types, typed status details, capability names and the session tunnel.
//!
//! The messages are generated from `schemas/buildkit/*.proto` when the crate is built. This is the
//! one place where the peer's spelling of names survives. Nothing here decides anything: see
//! [`proto`] for the messages, [`status`] for errors with details, [`tunnel`] for gRPC inside gRPC.

pub mod caps;
pub mod channel;
pub mod proto;
pub mod status;
pub mod tunnel;

pub use proto::pb;

/// The largest gRPC message in either direction, in bytes (containerd's default).
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
