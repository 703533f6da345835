//! The daemon in this process.
//!
//! Settings come in; a client of a daemon that lives as long as the process, or a place in its store,
//! goes out. Nothing of the daemon's inside is known here.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_client::Client;
use kiln_daemon::config::CdiConfig;
use kiln_daemon::{Daemon, Entitlements, Grant, Plugins, Settings};
use kiln_oci::Reference;

use crate::args::ExecutorChoice;
use crate::commands::build::Canceled;
use crate::commands::signals::Signals;
use crate::endpoint::{Embedded, Endpoint};
use crate::output::complain;
use crate::own_socket::{self, OwnSocket};
use crate::pack::{Blob, FrontendImage, ImageSink};

/// How long between two looks at a state directory that is in use.
const PAUSE: Duration = Duration::from_millis(100);
/// How much may wait between client and daemon, in bytes.
const PIPE_BYTES: usize = 1 << 20;

/// The store cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    /// A `kilnd` writes it.
    #[error(
        "a kilnd is running with the state directory {0}, and only it can write its store: push the \
         image to a registry, or end kilnd first"
    )]
    InUse(PathBuf),
    /// It is somewhere else.
    #[error(
        "the store of the daemon at {0} cannot be written from here: push the image to a registry"
    )]
    Elsewhere(String),
}

/// Who holds the state directory.
enum Holder {
    /// This process.
    Own(Daemon),
    /// A `kilnd`.
    Other(Client),
}

/// How long a step may take to end once the build was given up.
const STEP_GRACE: Duration = Duration::from_secs(3);

/// What a daemon is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To build, or to write its store: for as long as this process wants.
    Build,
    /// To answer a question: whoever holds the state directory can do that.
    Ask,
}

/// The daemon in this process, if it was needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnDaemon(Arc<OnceLock<Own>>);

#[derive(Debug)]
struct Own {
    daemon: Daemon,
    /// For others who use its state directory; taken at its end.
    socket: Mutex<Option<OwnSocket>>,
}

impl OwnDaemon {
    /// Ends it in order: what still runs was given up, and is asked to end. A signal cuts that short.
    /// Where nothing was given up, others who ask something get their answer first.
    pub(crate) async fn stop(&self, ending: Ending) {
        let Some(Own { daemon, socket }) = self.0.get() else { return };
        let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut signals = Signals::new().ok();
        if ending == Ending::Canceled {
            complain("canceling: running steps are asked to end; another Ctrl-C kills them\n");
        }
        let impatient = async {
            match &mut signals {
                Some(signals) => drop(signals.next().await),
                // Who cannot hear signals waits for the end of the time.
                None => std::future::pending().await,
            }
        };
        let closed = async {
            if let Some(socket) = socket {
                socket.close().await;
            }
        };
        if ending == Ending::Done {
            closed.await;
            daemon.stop(Duration::ZERO, impatient).await;
        } else {
            tokio::join!(daemon.stop(Duration::ZERO, impatient), closed);
        }
    }
}

/// How the command ended that had the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Well.
    Done,
    /// Not well.
    Failed,
    /// Somebody wanted it to.
    Canceled,
}

impl Ending {
    /// The end that a result tells of.
    pub(crate) fn of(result: &anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) if error.is::<Canceled>() => Self::Canceled,
            Err(_) => Self::Failed,
        }
    }
}

/// Starts the daemon and connects to it. If a `kilnd` holds the state directory, that one is used; if
/// another `kiln` does, that one is asked what can be asked, and what is built waits for its end.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) async fn start(
    settings: &Embedded,
    own: &OwnDaemon,
    purpose: Purpose,
) -> anyhow::Result<Client> {
    let daemon = match hold(settings, purpose).await? {
        Holder::Own(daemon) => daemon,
        Holder::Other(client) => return Ok(client),
    };
    let socket = Mutex::new(OwnSocket::open(&daemon, &settings.root).await);
    own.0.set(Own { daemon: daemon.clone(), socket }).ok();
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(async move { daemon.serve(far).await });
    Ok(Client::from_io(near).await?)
}

async fn hold(settings: &Embedded, purpose: Purpose) -> anyhow::Result<Holder> {
    let daemons = settings.root.join("kilnd.sock");
    let commands = (purpose == Purpose::Ask).then(|| own_socket::place(&settings.root));
    let mut told = false;
    loop {
        let error = match Daemon::start(daemon_settings(settings)) {
            Ok(daemon) => return Ok(Holder::Own(daemon)),
            Err(error) => error,
        };
        if !error.is_in_use() {
            return Err(error.into());
        }
        for socket in [Some(&daemons), commands.as_ref()].into_iter().flatten() {
            if let Ok(client) = Client::connect(&format!("unix://{}", socket.display())).await {
                return Ok(Holder::Other(client));
            }
        }
        if !std::mem::replace(&mut told, true) {
            let root = settings.root.display();
            tracing::warn!(
                "waiting for another build in `{root}`; builds run side by side with kilnd, or with a --root each"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn daemon_settings(settings: &Embedded) -> Settings {
    Settings {
        root: settings.root.clone(),
        executor: match &settings.executor {
            ExecutorChoice::Native => kiln_daemon::ExecutorChoice::Native,
            ExecutorChoice::Oci(binary) => kiln_daemon::ExecutorChoice::Runtime(binary.clone()),
        },
        plugins: Plugins {
            directories: settings.plugins.clone(),
            // The client is this process, so that is the user who runs the plugin.
            by_path: true,
            unconfined: settings.unconfined_plugins,
        },
        pull_frontends: settings.pull_frontends,
        host_env: settings.host_env.clone(),
        cloud_environment: settings.cloud_environment.clone(),
        // Whoever runs the daemon in their own process has allowed it by asking for it.
        entitlements: Entitlements {
            network_host: true,
            security_insecure: true,
            devices: Some(Grant::default()),
        },
        cdi: CdiConfig {
            spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            ..CdiConfig::default()
        },
        step_grace: STEP_GRACE,
        privileges: settings.privileges.clone(),
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
        Endpoint::Embedded(settings) => match hold(settings, Purpose::Build).await? {
            Holder::Own(daemon) => Ok(Box::new(StoreSink(daemon))),
            Holder::Other(_) => Err(EmbeddedError::InUse(settings.root.clone()).into()),
        },
        Endpoint::Address(address) => Err(EmbeddedError::Elsewhere(address.url.clone()).into()),
    }
}

/// The store of a daemon in this process, as a place for packed images.
struct StoreSink(Daemon);

#[async_trait]
impl ImageSink for StoreSink {
    async fn put(&self, image: &FrontendImage, name: &Reference) -> anyhow::Result<()> {
        let Self(daemon) = self;
        let layer = daemon.store().write_blob(image.layer.bytes.clone()).await?;
        let bytes = |blob: &Blob| Bytes::copy_from_slice(&blob.bytes);
        let (manifest, config) = (bytes(&image.manifest), bytes(&image.config));
        daemon.images().add(name, manifest, config, &[layer]).await?;
        Ok(())
    }
}
