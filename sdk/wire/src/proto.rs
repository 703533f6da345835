//! The messages of `kiln-pb` with the gRPC services that carry them, one module per package.

#![expect(
    clippy::allow_attributes,
    unused_qualifications,
    reason = "generated code; the schemas carry the comments"
)]

/// All schemas, and what they import, as an encoded `google.protobuf.FileDescriptorSet`: what gRPC
/// reflection answers with.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use kiln_pb::{apicaps, errdefs, filetree, pb, rpc, sourcepolicy, types};

/// Why the steps of a build ran (`explain.proto`).
pub mod explain {
    pub use kiln_pb::explain::*;
    tonic::include_proto!("kiln.explain.v1");
}

/// A content store (`content.proto`).
pub mod content {
    pub use kiln_pb::content::*;
    tonic::include_proto!("containerd.services.content.v1");
}

/// Builds, their progress, the session tunnel, disk use, history (`control.proto`).
pub mod control {
    pub use kiln_pb::control::*;
    tonic::include_proto!("moby.buildkit.v1");
}

/// What a frontend asks (`gateway.proto`).
pub mod gateway {
    pub use kiln_pb::gateway::*;
    tonic::include_proto!("moby.buildkit.v1.frontend");
}

/// Secrets of a session (`secrets.proto`).
pub mod secrets {
    pub use kiln_pb::secrets::*;
    tonic::include_proto!("moby.buildkit.secrets.v1");
}

/// File transfer and registry credentials of a session (`filesync.proto`, `auth.proto`).
pub mod session_files {
    pub use kiln_pb::session_files::*;
    tonic::include_proto!("moby.filesync.v1");
}

/// SSH agents of a session (`ssh.proto`).
pub mod sshforward {
    pub use kiln_pb::sshforward::*;
    tonic::include_proto!("moby.sshforward.v1");
}

/// Uploads of a session (`upload.proto`).
pub mod upload {
    pub use kiln_pb::upload::*;
    tonic::include_proto!("moby.upload.v1");
}

/// Exporters that the client decides on (`exporter.proto`).
pub mod session_exporter {
    pub use kiln_pb::session_exporter::*;
    tonic::include_proto!("moby.exporter.v1");
}

/// Sources that the client decides on (`policysession.proto`).
pub mod policysession {
    pub use kiln_pb::policysession::*;
    tonic::include_proto!("moby.buildkit.v1.sourcepolicy.policysession");
}

/// Where programs send their spans (`trace_service.proto`).
pub mod trace_service {
    pub use kiln_pb::trace_service::*;
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}
