//! From the first socket to the last client: listening, serving, stopping in order.

use std::time::Duration;

use futures::StreamExt as _;
use kiln_daemon::config::Address;
use kiln_daemon::listen::{Listener, Listening, PassedSockets, notify};
use kiln_daemon::{Daemon, Settings, Stopped};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::setup::Setup;
use crate::signals::Signals;

/// How long clients may take to hang up once their builds have ended.
const HANG_UP: Duration = Duration::from_secs(1);

/// Serves until a signal asks for the end, or a listener fails.
pub(crate) async fn serve(
    setup: &Setup,
    settings: Settings,
    passed: PassedSockets,
) -> anyhow::Result<()> {
    let config = &setup.config;
    // Before there is anything to be stopped.
    let mut signals = Signals::new()?;
    let mut listening = Listening::new(&config.sockets, passed)?;
    // Clients that use the same state directory find the daemon there.
    let own = Address::Unix(settings.root.join("kilnd.sock"));
    let daemon = Daemon::start(settings)?;
    let mut addresses = config.sockets.addresses.clone();
    if !addresses.contains(&own) {
        addresses.push(own);
    }
    let (ending, ended) = watch::channel(false);
    let mut servers = JoinSet::new();
    for address in &addresses {
        let listener = listening.open(address).await?;
        serve_on(&mut servers, &daemon, listener, ended.clone()).await;
        tracing::info!(%address, "listening");
    }
    // Shown until the process ends.
    let mut debug = JoinSet::new();
    if let Some(address) = &config.debug_address {
        debug.spawn(kiln_daemon::debug::serve(daemon.clone(), Listener::plain(address).await?));
        tracing::info!(%address, "metrics and state");
    }
    tell_systemd(setup, "READY=1");
    tokio::select! {
        () = signals.next() => {}
        Some(ended) = servers.join_next() => ended??,
    }
    tracing::info!("stopping; a second signal stops at once");
    tell_systemd(setup, "STOPPING=1");
    let stopped = daemon.stop(config.stopping.timeout, signals.next()).await;
    ending.send_replace(true);
    let hang_up = async { while servers.join_next().await.is_some() {} };
    tokio::time::timeout(HANG_UP, hang_up).await.ok();
    for address in addresses.iter().chain(&config.debug_address) {
        if let Address::Unix(path) = address {
            std::fs::remove_file(path).ok();
        }
    }
    tracing::info!(?stopped, "stopped");
    match stopped {
        Stopped::Finished | Stopped::Cancelled(_) => Ok(()),
        Stopped::AtOnce(builds) => anyhow::bail!("stopped at once; {builds} builds were killed"),
    }
}

/// Serves what comes in, until `ended` says so and the clients have hung up.
async fn serve_on(
    servers: &mut JoinSet<Result<(), tonic::transport::Error>>,
    daemon: &Daemon,
    listener: Listener,
    mut ended: watch::Receiver<bool>,
) {
    let router = daemon.services().await;
    // Where the connections end, the server waits for those it has.
    let ended = async move {
        ended.wait_for(|ended| *ended).await.ok();
    };
    let connections = Box::pin(listener.connections().take_until(Box::pin(ended)));
    servers.spawn(kiln_wire::channel::serve_all(router, connections));
}

/// Says how far the daemon is to the service manager, if there is one.
fn tell_systemd(setup: &Setup, state: &str) {
    let Some(socket) = setup.environment.get("NOTIFY_SOCKET") else { return };
    if let Err(error) = notify(socket, state) {
        tracing::warn!(%error, socket, "cannot notify the service manager");
    }
}
