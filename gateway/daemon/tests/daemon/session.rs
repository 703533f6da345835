//! Sessions whose services a test answers itself.

use futures::{StreamExt as _, TryFutureExt as _};
use kiln_wire::proto::control::BytesMessage;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::{channel, tunnel};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Opens a session that offers methods, which these routes answer.
pub(crate) fn open(control: &ControlClient<Channel>, id: &str, methods: &[&str], routes: Routes) {
    let (promise, promised) = tokio::sync::oneshot::channel();
    let incoming = promised.map_err(|_| Status::cancelled("not opened")).try_flatten_stream();
    let (io, outgoing) = tunnel::join::<BytesMessage, _>(Box::pin(incoming));
    let mut request = Request::new(outgoing);
    let metadata = request.metadata_mut();
    metadata.insert("x-docker-expose-session-uuid", id.parse().unwrap());
    metadata.insert("x-docker-expose-session-name", "test".parse().unwrap());
    for method in methods {
        metadata.append("x-docker-expose-session-grpc-method", method.parse().unwrap());
    }
    let mut control = control.clone();
    let call = async move { control.session(request).await.map(Response::into_inner) };
    promise.send(call.try_flatten_stream().boxed()).ok();
    let (_, health) = tonic_health::server::health_reporter();
    let router = channel::server().add_routes(routes.add_service(health));
    tokio::spawn(channel::serve(router, io));
}
