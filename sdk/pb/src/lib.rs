//! The messages of BuildKit's protocols, and what Kiln adds, as prost types, and nothing that speaks.
//!
//! Generated from `schemas/*/*.proto` when the crate is built; [`caps`] are the names of features that
//! travel in them, [`gojson`] is their JSON form, over which cache keys are taken, [`attribute`] reads values in
//! their maps. There is no runtime
//! and no socket here, nor in anything this crate depends on, so that what decides (graph, keys,
//! solver) may read messages. `kiln-wire` adds the gRPC services.

pub mod attribute;
pub mod caps;
mod codec;
pub mod gojson;
mod json;
pub mod messages;

pub use messages::containerd::services::content::v1 as content;
pub use messages::errdefs;
pub use messages::fsutil::types as filetree;
pub use messages::google::rpc;
pub use messages::kiln::explain::v1 as explain;
pub use messages::moby::buildkit::secrets::v1 as secrets;
pub use messages::moby::buildkit::v1 as control;
pub use messages::moby::buildkit::v1::apicaps;
pub use messages::moby::buildkit::v1::frontend as gateway;
pub use messages::moby::buildkit::v1::sourcepolicy;
pub use messages::moby::buildkit::v1::sourcepolicy::policysession;
pub use messages::moby::buildkit::v1::types;
pub use messages::moby::exporter::v1 as session_exporter;
pub use messages::moby::filesync::v1 as session_files;
pub use messages::moby::sshforward::v1 as sshforward;
pub use messages::moby::upload::v1 as upload;
pub use messages::opentelemetry::proto::collector::trace::v1 as trace_service;
pub use messages::opentelemetry::proto::common::v1 as trace_values;
pub use messages::opentelemetry::proto::resource::v1 as trace_resource;
pub use messages::opentelemetry::proto::trace::v1 as trace;
pub use messages::pb;
