//! What a client offers while it builds, and the tunnel it is offered in.
//!
//! A [`Session`] is put together first and opened once per build. Inside the tunnel the roles are
//! swapped: this end serves, the daemon calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{StreamExt, TryStreamExt};
use kiln_wire::proto::content::content_server::ContentServer;
use kiln_wire::proto::control::BytesMessage;
use kiln_wire::proto::secrets::secrets_server::SecretsServer;
use kiln_wire::proto::session_files::auth_server::AuthServer;
use kiln_wire::proto::session_files::file_sync_server::FileSyncServer;
use kiln_wire::proto::sshforward::ssh_server::SshServer;
use kiln_wire::proto::upload::upload_server::UploadServer;
use kiln_wire::{MAX_MESSAGE_BYTES, channel, tunnel};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::attach::{
    Auth, AuthService, Content, ContentService, ExportService, ExportTarget, LocalDir,
    LocalDirsService, SecretSource, SecretsService, SshService, UploadService, Uploads,
};
use crate::client::Client;
use crate::id::new_id;

const HEALTH_METHOD: &str = "/grpc.health.v1.Health/Check";

/// What the daemon may ask for. Everything that is not attached does not exist for it.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// For people.
    pub name: String,
    /// Says which sessions look at the same local directories, so that the daemon transfers only
    /// what changed since the last one. Empty: no two do.
    pub shared_key: String,
    /// Local directories by name, such as `context`.
    pub local_dirs: BTreeMap<String, LocalDir>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of SSH agents by id; the usual one is `default`.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Registry credentials.
    pub auth: Option<Auth>,
    /// Content stores by id: `oci:<name>` for an OCI layout.
    pub content: BTreeMap<String, Content>,
    /// Streams that are read once.
    pub uploads: Uploads,
    /// Where exports go, by their number in the build request; [`Client::solve`] fills it in.
    pub exports: BTreeMap<String, ExportTarget>,
}

/// An open session. Dropping it hangs up.
#[derive(Debug)]
pub struct OpenSession {
    id: String,
    serving: JoinHandle<()>,
    _over: DropGuard,
}

impl Session {
    /// Opens the session on a connection. This does not wait for the daemon; a build that names the
    /// session does.
    pub fn open(self, client: &Client) -> OpenSession {
        let id = new_id();
        let (routes, methods) = self.services();
        let metadata = self.describe(&id, &methods);
        let mut control = client.control();
        // The messages out are made from the bytes in, and the bytes in come with the answer to the
        // messages out; so the answer is promised first.
        let (promise, promised) = tokio::sync::oneshot::channel();
        let incoming = promised
            .map(|call| call.map_err(|_| Status::cancelled("the session was not opened")))
            .into_stream()
            .try_flatten();
        // The daemon may not have said a word yet, and then the server does not notice that it should
        // end; the tunnel ends by itself.
        let over = CancellationToken::new();
        let incoming = incoming.take_until(over.clone().cancelled_owned());
        let (io, outgoing) = tunnel::join::<BytesMessage, _>(Box::pin(incoming));
        let outgoing = outgoing.take_until(over.clone().cancelled_owned());
        let call = async move {
            let mut request = Request::new(outgoing);
            *request.metadata_mut() = metadata;
            let opened = control.session(request).await;
            if let Err(status) = &opened {
                tracing::debug!(%status, "session was refused");
            }
            opened.map(tonic::Response::into_inner)
        };
        promise.send(futures::stream::once(call).try_flatten().boxed()).ok();
        let serving = tokio::spawn(async move {
            if let Err(error) = channel::serve(channel::server().add_routes(routes), io).await {
                tracing::debug!(%error, "session ended with an error");
            }
        });
        OpenSession { id, serving, _over: over.drop_guard() }
    }

    /// Everything attached, as services, with the names of their methods.
    fn services(&self) -> (Routes, Vec<&'static str>) {
        let (_, health) = tonic_health::server::health_reporter();
        let mut routes = Routes::new(health);
        let mut methods = vec![HEALTH_METHOD];
        if !self.local_dirs.is_empty() {
            let service = LocalDirsService(Arc::new(self.local_dirs.clone()));
            routes = routes.add_service(
                FileSyncServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES),
            );
            methods.extend(LocalDirsService::METHODS);
        }
        if !self.exports.is_empty() {
            routes = routes.add_service(ExportService(Arc::new(self.exports.clone())));
            methods.extend(ExportService::METHODS);
        }
        if !self.secrets.is_empty() {
            routes = routes
                .add_service(SecretsServer::new(SecretsService(Arc::new(self.secrets.clone()))));
            methods.extend(SecretsService::METHODS);
        }
        if !self.ssh.is_empty() {
            routes = routes.add_service(SshServer::new(SshService(Arc::new(self.ssh.clone()))));
            methods.extend(SshService::METHODS);
        }
        if let Some(auth) = &self.auth {
            routes = routes.add_service(AuthServer::new(AuthService(Arc::new(auth.clone()))));
            methods.extend(AuthService::METHODS);
        }
        if !self.content.is_empty() {
            let service = ContentService(Arc::new(self.content.clone()));
            routes = routes.add_service(
                ContentServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES),
            );
            methods.extend(ContentService::METHODS);
        }
        if !self.uploads.is_empty() {
            routes = routes.add_service(UploadServer::new(UploadService(self.uploads.clone())));
            methods.extend(UploadService::METHODS);
        }
        (routes, methods)
    }

    /// The metadata with which the session is opened.
    fn describe(&self, id: &str, methods: &[&'static str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("x-docker-expose-session-uuid", ascii(id));
        metadata.insert("x-docker-expose-session-name", ascii(&self.name));
        metadata.insert("x-docker-expose-session-sharedkey", ascii(&self.shared_key));
        for method in methods {
            metadata
                .append("x-docker-expose-session-grpc-method", MetadataValue::from_static(method));
        }
        metadata
    }
}

impl OpenSession {
    /// The id by which a build names the session.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The text, with what fits no header replaced.
fn ascii(text: &str) -> MetadataValue<Ascii> {
    let fitting: String =
        text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '_' }).collect();
    MetadataValue::try_from(fitting).unwrap_or_else(|_| MetadataValue::from_static(""))
}
