//! The daemon in this process.
//!
//! Settings come in; a client of a daemon that lives as long as the process, or a place in its store,
//! goes out. Nothing of the daemon's inside is known here.

use std::path::PathBuf;

use kiln_client::Client;

use crate::endpoint::{Embedded, Endpoint};
use crate::pack::ImageSink;

/// There is no daemon in this program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    /// None that could build.
    #[error("this kiln has no daemon of its own for {0}: name one with --addr or BUILDKIT_HOST")]
    NoDaemon(PathBuf),
    /// None whose store could be written.
    #[error("the store of another daemon cannot be written: push to a registry instead")]
    NoStore,
}

/// Starts the daemon and connects to it.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) async fn start(settings: &Embedded) -> anyhow::Result<Client> {
    Err(EmbeddedError::NoDaemon(settings.root.clone()).into())
}

/// The image store of the daemon in this process.
///
/// # Errors
///
/// If it cannot be opened, or the daemon is another.
pub(crate) async fn image_sink(endpoint: &Endpoint) -> anyhow::Result<Box<dyn ImageSink>> {
    match endpoint {
        Endpoint::Embedded(settings) => Err(EmbeddedError::NoDaemon(settings.root.clone()).into()),
        Endpoint::Address(_) => Err(EmbeddedError::NoStore.into()),
    }
}
