//! The generated messages, one module per package of the schemas.

#![expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes,
    unused_qualifications,
    reason = "generated code; the schemas carry the comments"
)]

/// LLB (`ops.proto`).
pub mod pb {
    tonic::include_proto!("pb");
}

/// Typed error details (`errdefs.proto`).
pub mod errdefs {
    tonic::include_proto!("errdefs");
}

/// Directory trees over a stream (`fsutil.proto`).
pub mod fsutil {
    /// The messages.
    pub mod types {
        tonic::include_proto!("fsutil.types");
    }
}

/// gRPC's error model (`rpc_status.proto`).
pub mod google {
    /// The messages.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// A content store (`content.proto`).
pub mod containerd {
    /// Its services.
    pub mod services {
        /// The content service.
        pub mod content {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!("containerd.services.content.v1");
            }
        }
    }
}

/// Everything under `moby.`: control, gateway, session services.
pub mod moby {
    /// The daemon's services.
    pub mod buildkit {
        /// Version 1: the control service.
        pub mod v1 {
            tonic::include_proto!("moby.buildkit.v1");

            /// The gateway service.
            pub mod frontend {
                tonic::include_proto!("moby.buildkit.v1.frontend");
            }
            /// Capabilities.
            pub mod apicaps {
                tonic::include_proto!("moby.buildkit.v1.apicaps");
            }
            /// Source policies.
            pub mod sourcepolicy {
                tonic::include_proto!("moby.buildkit.v1.sourcepolicy");
            }
            /// Worker records.
            pub mod types {
                tonic::include_proto!("moby.buildkit.v1.types");
            }
        }
        /// Secrets of a session.
        pub mod secrets {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!("moby.buildkit.secrets.v1");
            }
        }
    }
    /// File transfer and registry credentials of a session.
    pub mod filesync {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("moby.filesync.v1");
        }
    }
    /// SSH agents of a session.
    pub mod sshforward {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("moby.sshforward.v1");
        }
    }
    /// Uploads of a session.
    pub mod upload {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("moby.upload.v1");
        }
    }
}

pub use containerd::services::content::v1 as content;
pub use fsutil::types as filetree;
pub use google::rpc;
pub use moby::buildkit::secrets::v1 as secrets;
pub use moby::buildkit::v1 as control;
pub use moby::buildkit::v1::apicaps;
pub use moby::buildkit::v1::frontend as gateway;
pub use moby::buildkit::v1::sourcepolicy;
pub use moby::buildkit::v1::types;
pub use moby::filesync::v1 as session_files;
pub use moby::sshforward::v1 as sshforward;
pub use moby::upload::v1 as upload;
