//! The daemon in this process.
//!
//! Settings come in, a client of a daemon that lives as long as the process goes out. Nothing of the
//! daemon's inside is known here.

use kiln_client::Client;

use crate::endpoint::Embedded;

/// There is no daemon in this program.
#[derive(Debug, thiserror::Error)]
#[error(
    "this kiln has no daemon of its own to keep its state in {0}: \
     name one with --addr or BUILDKIT_HOST"
)]
pub(crate) struct NotEmbedded(std::path::PathBuf);

/// Starts the daemon and connects to it.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) async fn start(settings: &Embedded) -> anyhow::Result<Client> {
    Err(NotEmbedded(settings.root.clone()).into())
}
