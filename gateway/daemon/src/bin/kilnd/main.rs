//! kilnd: the daemon on its sockets.
//!
//! The command line, variables and a configuration file are read here, once, and understood by the
//! library; listening, serving and stopping is what happens then.

mod setup;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use kiln_daemon::config::{Address, Config, LogFormat};
use kiln_daemon::listen::{Listener, Listening, PassedSockets, notify};
use kiln_daemon::{Daemon, Settings};
use tracing_subscriber::EnvFilter;

use crate::setup::{NoSetup, Setup};

fn main() -> ExitCode {
    kiln_executor::spawner_main_if_asked();
    let setup = match Setup::read(std::env::args_os()) {
        Ok(setup) => setup,
        Err(NoSetup { text, code }) => {
            complain(&text);
            return code;
        }
    };
    match start(setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// There is no log yet.
#[expect(clippy::print_stderr, reason = "what is wrong with the configuration of the log, too")]
fn complain(text: &str) {
    eprint!("{text}");
}

fn start(mut setup: Setup) -> anyhow::Result<()> {
    let config = &setup.config;
    let directives = setup.environment.get("KILND_LOG");
    start_logs(config, config.log_level.filter(directives).context("KILND_LOG")?);
    for remark in setup.remarks.iter().chain(&config.remarks) {
        tracing::warn!("{remark}");
    }
    let passed = std::mem::take(&mut setup.passed);
    kiln_daemon::private_process().context("cannot prepare the process")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&setup, passed));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    served
}

fn start_logs(config: &Config, filter: EnvFilter) {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

async fn serve(setup: &Setup, passed: PassedSockets) -> anyhow::Result<()> {
    let config = &setup.config;
    let mut listening = Listening::new(&config.sockets, passed)?;
    let settings = Settings::of(config, setup.host_env()).context("cannot read certificates")?;
    // Clients that use the same state directory find the daemon there.
    let own = Address::Unix(settings.root.join("kilnd.sock"));
    let daemon = Daemon::start(settings)?;
    let mut addresses = config.sockets.addresses.clone();
    if !addresses.contains(&own) {
        addresses.push(own);
    }
    let mut servers = tokio::task::JoinSet::new();
    for address in &addresses {
        let listener = listening.open(address).await?;
        let router = daemon.services().await;
        servers.spawn(kiln_wire::channel::serve_all(router, Box::pin(listener.connections())));
        tracing::info!(%address, "listening");
    }
    if let Some(address) = &config.debug_address {
        let listener = Listener::plain(address).await?;
        let daemon = daemon.clone();
        servers.spawn(async move {
            kiln_daemon::debug::serve(daemon, listener).await;
            Ok(())
        });
        tracing::info!(%address, "metrics and state");
    }
    tell_systemd(setup, "READY=1");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        Some(ended) = servers.join_next() => ended??,
    }
    tracing::info!("stopping");
    tell_systemd(setup, "STOPPING=1");
    daemon.flush().await;
    for address in addresses.iter().chain(&config.debug_address) {
        if let Address::Unix(path) = address {
            std::fs::remove_file(path).ok();
        }
    }
    Ok(())
}

/// Says how far the daemon is to the service manager, if there is one.
fn tell_systemd(setup: &Setup, state: &str) {
    let Some(socket) = setup.environment.get("NOTIFY_SOCKET") else { return };
    if let Err(error) = notify(socket, state) {
        tracing::warn!(%error, socket, "cannot notify the service manager");
    }
}
