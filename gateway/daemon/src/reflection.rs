//! gRPC reflection: tools ask which services there are, and how their messages look.
//!
//! Schemas go out as they were compiled. Both versions of the protocol are served; clients that are
//! some years old know only the older.

use kiln_wire::proto::DESCRIPTORS;
use tonic::transport::server::Router;
use tonic_reflection::server::Builder;

/// Adds the reflection of these services, and of health and itself.
///
/// # Panics
///
/// If the schemas that were compiled in do not decode.
pub(crate) fn add_to(router: Router, served: &[&str]) -> Router {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        served.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let newer = builder().with_service_name("grpc.reflection.v1.ServerReflection").build_v1();
    let older =
        builder().with_service_name("grpc.reflection.v1alpha.ServerReflection").build_v1alpha();
    router
        .add_service(newer.expect("schemas that were compiled in decode"))
        .add_service(older.expect("schemas that were compiled in decode"))
}
