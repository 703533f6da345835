//! The daemon in this process.
//!
//! Settings come in; a client of a daemon that lives as long as the process, or a place in its store,
//! goes out. Nothing of the daemon's inside is known here.

use std::path::PathBuf;
use std::time::Duration;

use kiln_client::Client;
use kiln_daemon::{Daemon, Entitlements, Settings};

use crate::args::ExecutorChoice;
use crate::endpoint::{Embedded, Endpoint};
use crate::pack::ImageSink;

/// How long between two looks at a state directory that is in use.
const PAUSE: Duration = Duration::from_millis(100);
/// How much may wait between client and daemon, in bytes.
const PIPE_BYTES: usize = 1 << 20;

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

/// Starts the daemon and connects to it. If a `kilnd` holds the state directory, that one is used;
/// if another `kiln` does, this one waits for its end.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) async fn start(settings: &Embedded) -> anyhow::Result<Client> {
    let socket = settings.root.join("kilnd.sock");
    let mut told = false;
    let daemon = loop {
        let error = match Daemon::start(daemon_settings(settings)) {
            Ok(daemon) => break daemon,
            Err(error) => error,
        };
        if !error.is_in_use() {
            return Err(error.into());
        }
        if let Ok(client) = Client::connect(&format!("unix://{}", socket.display())).await {
            return Ok(client);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{error}; waiting for it to end");
        }
        tokio::time::sleep(PAUSE).await;
    };
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(async move { daemon.serve(far).await });
    Ok(Client::from_io(near).await?)
}

fn daemon_settings(settings: &Embedded) -> Settings {
    Settings {
        root: settings.root.clone(),
        executor: match &settings.executor {
            ExecutorChoice::Native => kiln_daemon::ExecutorChoice::Native,
            ExecutorChoice::Oci(binary) => kiln_daemon::ExecutorChoice::Runtime(binary.clone()),
        },
        plugin_path: settings.plugin_path.clone(),
        host_env: settings.host_env.clone(),
        // Whoever runs the daemon in their own process has allowed it by asking for it.
        entitlements: Entitlements { network_host: true, security_insecure: true },
        ..Settings::default()
    }
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
