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

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    use super::*;

    #[tokio::test]
    async fn tools_find_the_services_that_are_served_and_their_messages() {
        let (_, health) = tonic_health::server::health_reporter();
        let router = kiln_wire::channel::server().add_service(health);
        let router = add_to(router, &["moby.buildkit.v1.Control"]);
        let (near, far) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(kiln_wire::channel::serve(router, far));
        let channel = kiln_wire::channel::connect(near).await.unwrap();
        let mut client = ServerReflectionClient::new(channel);
        let ask = |message| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let requests = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("moby.buildkit.v1.SolveRequest".into())),
        ];
        let answers = client.server_reflection_info(futures::stream::iter(requests)).await.unwrap();
        let answers: Vec<_> =
            answers.into_inner().map(|a| a.unwrap().message_response).collect().await;
        let Some(MessageResponse::ListServicesResponse(list)) = &answers[0] else {
            panic!("{answers:?}")
        };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert!(names.contains(&"moby.buildkit.v1.Control"), "{names:?}");
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        assert!(!names.contains(&"moby.filesync.v1.FileSync"), "a session serves it: {names:?}");
        assert!(matches!(&answers[1], Some(MessageResponse::FileDescriptorResponse(_))));
        drop(client);
        server.await.unwrap().unwrap();
    }
}
