//! One build as one typed pipeline: decode, policy, solve, export, cache export, record.
//!
//! A [`Builder`] is what builds are made with, put together once. [`Builder::build`] takes the request of a
//! client and answers it:
//!
//! 1. **decode** (`request.rs`): the message becomes a `Build`, whose parts are types. What makes no sense is
//!    refused here by name, and nothing behind it reads an attribute again.
//! 2. **policy**: the source policies of the request are compiled when it is decoded; the bridge holds every
//!    source of every graph to them, with `kiln_policy`, and to those of frontends.
//! 3. **solve** (`pipeline.rs`): the bridge solves the graph, or calls the frontend that makes one; scans are
//!    added to its result.
//! 4. **export**: results go to files, archives, images, with what is claimed about them (`claims.rs`).
//! 5. **cache export** (`caches.rs`): what was built goes to the caches that the request names.
//! 6. **record** (`recording.rs`): the history remembers what was asked and what came of it, also of builds
//!    that fail or whose clients go away.
//!
//! Read `builder.rs` first, then `pipeline.rs`. Nothing here listens, and nothing reads configuration.

mod builder;
mod pipeline;

mod attestations;
mod request;

mod caches;
mod claims;
mod platforms;
mod session_exporters;

mod provenance_env;
mod recording;

mod builds;
mod gate;
mod metrics;
mod traces;

pub use builder::{Builder, BuilderParts};
pub use builds::{BuildProgress, Builds, RunningBuild};
pub use caches::{ImportedMounts, WithImports};
pub use gate::Gate;
pub use metrics::Metrics;
pub use provenance_env::{ProvenanceEnvError, read as read_provenance_env};
pub use traces::{BuildTrace, Collector, CollectorError, Traces};
