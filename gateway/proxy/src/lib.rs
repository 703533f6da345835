//! A proxy for the steps of a build: what they fetch passes through here, and is noted.
//!
//! A step that has no other way to the network is given the address of a [`Proxy`]. Plain requests are
//! passed on; for encrypted ones the proxy is the server, with a certificate of its [`Authority`], which the
//! step is made to trust. A [`Judge`] may refuse a request or turn it into another. What was asked and
//! what came, by digest, is in the [`Capture`]; bodies are hashed while they pass and never kept. Steps
//! are taken to be hostile: headers, times and connections are bounded.
//!
//! How connections are opened is the [`Egress`]'s business; who listens where, the caller's.

mod authority;
mod body;
mod capture;
mod exchange;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

pub use authority::{Authority, AuthorityError};
pub use capture::{Capture, Captured, Gap, Material, Reason, Request};
pub use server::{Egress, Judge, Proxy, ProxyParts};
