//! BuildKit's protocols as Rust types, typed status details, capability names and the session tunnel.
