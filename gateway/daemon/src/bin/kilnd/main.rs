//! kilnd: the daemon on its sockets.
//!
//! Arguments and the environment come in; listening, serving and stopping in order is what happens
//! here. What a build is, the library knows.

mod arguments;
mod defaults;
mod listen;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use futures::StreamExt as _;
use kiln_daemon::{Daemon, ExecutorChoice, LogLevel, Plugins, Settings, Stopped};
use kiln_graph::Entitlements;
use rustix::fs::{Gid, Mode};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use crate::arguments::{Arguments, InterruptedCaches};
use crate::defaults::Defaults;
use crate::listen::{Address, Listener, group};

/// How long clients may take to hang up once their builds have ended.
const HANG_UP: Duration = Duration::from_secs(1);
/// How long files may take to be closed.
const CLOSE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    kiln_executor::spawner_main_if_asked();
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    // Read before the user namespace, in which everyone is root.
    let defaults = Defaults::read(&arguments);
    let level = arguments.debug.unwrap_or(LogLevel::Info);
    let filter = level.filter(defaults.log_directives.as_deref()).context("KILND_LOG")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // What is private is made so; what builds make must not depend on who started the daemon.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let settings = settings(&arguments, &defaults);
    let privileges =
        kiln_daemon::private_process(&settings.root).context("cannot prepare the process")?;
    let settings = Settings { privileges, ..settings };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(arguments, defaults, settings));
    runtime.shutdown_timeout(CLOSE);
    served
}

async fn serve(arguments: Arguments, defaults: Defaults, settings: Settings) -> anyhow::Result<()> {
    // Before there is anything to be stopped.
    let mut signals = Signals::new()?;
    let own = Address::Unix(settings.root.join("kilnd.sock"));
    let daemon = Daemon::start(settings)?;
    let addresses = addresses(&arguments, &defaults, own)?;
    let group = arguments.group.as_deref().map(find_group).transpose()?;
    let (ending, ended) = watch::channel(false);
    let mut servers = JoinSet::new();
    for address in &addresses {
        let listener = address.listen(group).await?;
        serve_on(&mut servers, &daemon, listener, ended.clone()).await;
        tracing::info!(%address, "listening");
    }
    tokio::select! {
        () = signals.next() => {}
        Some(ended) = servers.join_next() => ended??,
    }
    tracing::info!("stopping; a second signal stops at once");
    let stopped = daemon.stop(arguments.stop_timeout, signals.next()).await;
    ending.send_replace(true);
    let hang_up = async { while servers.join_next().await.is_some() {} };
    tokio::time::timeout(HANG_UP, hang_up).await.ok();
    for address in &addresses {
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

fn settings(arguments: &Arguments, defaults: &Defaults) -> Settings {
    let allowed =
        |name: &str| arguments.allow_insecure_entitlement.iter().any(|allowed| allowed == name);
    let executor = arguments.oci_worker_binary.clone();
    Settings {
        root: arguments.root.clone().unwrap_or_else(|| defaults.root.clone()),
        executor: executor.map_or(ExecutorChoice::Native, ExecutorChoice::Runtime),
        pull_frontends: arguments.pull_frontends,
        plugins: Plugins {
            directories: defaults.plugins.clone(),
            // Whoever may call the daemon must not choose what it executes.
            by_path: false,
            unconfined: arguments.unconfined_plugins,
        },
        entitlements: Entitlements {
            network_host: allowed("network.host"),
            security_insecure: allowed("security.insecure"),
        },
        host_env: defaults.host_env.clone(),
        max_parallelism: arguments.oci_max_parallelism,
        collect: true,
        step_grace: arguments.step_stop_timeout,
        discard_interrupted_caches: arguments.interrupted_caches == InterruptedCaches::Discard,
        ..Settings::default()
    }
}

/// Where to listen: where it was asked to, and in the state directory, where clients that use it
/// find the daemon.
fn addresses(
    arguments: &Arguments,
    defaults: &Defaults,
    own: Address,
) -> anyhow::Result<Vec<Address>> {
    let given = arguments.addresses.iter().map(|address| address.parse());
    let mut addresses = given.collect::<anyhow::Result<Vec<Address>>>()?;
    if addresses.is_empty() {
        addresses.push(defaults.address.parse()?);
    }
    if !addresses.contains(&own) {
        addresses.push(own);
    }
    Ok(addresses)
}

fn find_group(text: &str) -> anyhow::Result<Gid> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    group(text, &read("/etc/group"), &read("/proc/self/gid_map"))
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
    match listener {
        Listener::Unix(listener) => {
            let connections = UnixListenerStream::new(listener).take_until(Box::pin(ended));
            servers.spawn(router.serve_with_incoming(connections));
        }
        Listener::Tcp(listener) => {
            let connections = TcpListenerStream::new(listener).take_until(Box::pin(ended));
            servers.spawn(router.serve_with_incoming(connections));
        }
    }
}

/// The signals that ask a daemon to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
