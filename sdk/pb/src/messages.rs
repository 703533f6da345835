//! The generated messages, one module per package of the schemas.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    reason = "generated code; the schemas carry the comments"
)]

/// LLB (`ops.proto`).
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}

/// Typed error details (`errdefs.proto`).
pub mod errdefs {
    include!(concat!(env!("OUT_DIR"), "/errdefs.rs"));
}

/// Directory trees over a stream (`fsutil.proto`).
pub mod fsutil {
    /// The messages.
    pub mod types {
        include!(concat!(env!("OUT_DIR"), "/fsutil.types.rs"));
    }
}

/// gRPC's error model (`rpc_status.proto`).
pub mod google {
    /// The messages.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// What Kiln adds.
pub mod kiln {
    /// Explanations of builds (`explain.proto`).
    pub mod explain {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/kiln.explain.v1.rs"));
        }
    }
}

/// A content store (`content.proto`).
pub mod containerd {
    /// Of services.
    pub mod services {
        /// Of the content service.
        pub mod content {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/containerd.services.content.v1.rs"));
            }
        }
    }
}

/// Everything under `moby.`: control, gateway, session services.
pub mod moby {
    /// The daemon.
    pub mod buildkit {
        /// Version 1: builds, progress, history.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.rs"));

            /// What a frontend asks.
            pub mod frontend {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.frontend.rs"));
            }
            /// Capabilities.
            pub mod apicaps {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.apicaps.rs"));
            }
            /// Source policies.
            pub mod sourcepolicy {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.sourcepolicy.rs"));

                /// Policies that the client decides.
                pub mod policysession {
                    include!(concat!(
                        env!("OUT_DIR"),
                        "/moby.buildkit.v1.sourcepolicy.policysession.rs"
                    ));
                }
            }
            /// Worker records.
            pub mod types {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.v1.types.rs"));
            }
        }
        /// Secrets of a session.
        pub mod secrets {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/moby.buildkit.secrets.v1.rs"));
            }
        }
    }
    /// File transfer and registry credentials of a session.
    pub mod filesync {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/moby.filesync.v1.rs"));
        }
    }
    /// Exporters that the client decides on.
    pub mod exporter {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/moby.exporter.v1.rs"));
        }
    }
    /// SSH agents of a session.
    pub mod sshforward {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/moby.sshforward.v1.rs"));
        }
    }
    /// Uploads of a session.
    pub mod upload {
        /// Version 1.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/moby.upload.v1.rs"));
        }
    }
}

/// Traces of programs (OTLP).
pub mod opentelemetry {
    /// The messages.
    pub mod proto {
        /// Of the service that takes traces.
        pub mod collector {
            /// Of traces.
            pub mod trace {
                /// Version 1.
                pub mod v1 {
                    include!(concat!(
                        env!("OUT_DIR"),
                        "/opentelemetry.proto.collector.trace.v1.rs"
                    ));
                }
            }
        }
        /// Values of attributes.
        pub mod common {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.common.v1.rs"));
            }
        }
        /// What made a trace.
        pub mod resource {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.resource.v1.rs"));
            }
        }
        /// Spans.
        pub mod trace {
            /// Version 1.
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.trace.v1.rs"));
            }
        }
    }
}
