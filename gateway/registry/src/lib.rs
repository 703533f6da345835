//! Resolve, fetch and push over the OCI distribution protocol.
