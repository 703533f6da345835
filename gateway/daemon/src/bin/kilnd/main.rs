//! kilnd: the daemon on a socket.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use kiln_daemon::{Daemon, ExecutorChoice, HOST_VARIABLES, Settings};
use kiln_graph::Entitlements;
use tokio::net::UnixListener;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tracing_subscriber::EnvFilter;

/// A build daemon that speaks BuildKit's Control API.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Where to listen: unix:///PATH or tcp://HOST:PORT; may be given several times.
    #[arg(long = "addr", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Where to keep state.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Log more.
    #[arg(long)]
    debug: bool,
    /// Run processes with this OCI runtime instead of Kiln's own executor.
    #[arg(long, value_name = "BINARY")]
    oci_worker_binary: Option<PathBuf>,
    /// Processes that run at the same time.
    #[arg(long, value_name = "NUMBER")]
    oci_max_parallelism: Option<usize>,
    /// Let builds ask for this: network.host or security.insecure.
    #[arg(long, value_name = "ENTITLEMENT")]
    allow_insecure_entitlement: Vec<String>,
    /// A directory with frontend plugins; may be given several times.
    #[arg(long, value_name = "DIRECTORY")]
    plugin_path: Vec<PathBuf>,
    /// Pull the images of frontends, also where one that is linked in stands for them.
    #[arg(long)]
    pull_frontends: bool,
}

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
    let level = if arguments.debug { "debug" } else { "info" };
    let filter = EnvFilter::try_from_env("KILND_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("kiln={level},{level}")));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Read before the user namespace, in which everyone is root.
    let defaults = Defaults::read();
    kiln_daemon::private_process().context("cannot prepare the process")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(arguments, defaults));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    served
}

/// What follows from the user and the environment.
struct Defaults {
    root: PathBuf,
    address: String,
    host_env: Vec<(String, String)>,
    plugin_path: Vec<PathBuf>,
}

impl Defaults {
    fn read() -> Self {
        let variable =
            |name: &str| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value);
        let is_root = rustix::process::geteuid().is_root();
        let home = variable("HOME").unwrap_or_else(|| "/".into());
        let data = variable("XDG_DATA_HOME").unwrap_or_else(|| format!("{home}/.local/share"));
        let run = variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("{data}/kiln"));
        let (root, socket) = match is_root {
            true => ("/var/lib/kiln".to_owned(), "/run/kiln/kilnd.sock".to_owned()),
            false => (format!("{data}/kiln"), format!("{run}/kiln/kilnd.sock")),
        };
        let plugins = variable("KILN_PLUGIN_PATH").unwrap_or_default();
        Self {
            root: root.into(),
            address: format!("unix://{socket}"),
            host_env: HOST_VARIABLES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
                .collect(),
            plugin_path: std::env::split_paths(&plugins).collect(),
        }
    }
}

async fn serve(arguments: Arguments, defaults: Defaults) -> anyhow::Result<()> {
    let allowed =
        |name: &str| arguments.allow_insecure_entitlement.iter().any(|allowed| allowed == name);
    let settings = Settings {
        root: arguments.root.clone().unwrap_or(defaults.root),
        executor: arguments
            .oci_worker_binary
            .clone()
            .map_or(ExecutorChoice::Native, ExecutorChoice::Runtime),
        pull_frontends: arguments.pull_frontends,
        plugin_path: arguments.plugin_path.iter().cloned().chain(defaults.plugin_path).collect(),
        entitlements: Entitlements {
            network_host: allowed("network.host"),
            security_insecure: allowed("security.insecure"),
        },
        host_env: defaults.host_env,
        max_parallelism: arguments.oci_max_parallelism,
        collect: true,
        ..Settings::default()
    };
    let own_socket = settings.root.join("kilnd.sock");
    let daemon = Daemon::start(settings)?;
    let mut addresses = arguments.addresses.clone();
    if addresses.is_empty() {
        addresses.push(defaults.address);
    }
    // Clients that use the same state directory find the daemon there.
    let own_address = format!("unix://{}", own_socket.display());
    if !addresses.contains(&own_address) {
        addresses.push(own_address);
    }
    let mut servers = tokio::task::JoinSet::new();
    for address in &addresses {
        let router = daemon.services().await;
        if let Some(path) = address.strip_prefix("unix://") {
            let listener = listen(path).with_context(|| format!("cannot listen on {address}"))?;
            let connections = UnixListenerStream::new(listener);
            servers.spawn(kiln_wire::channel::serve_all(router, connections));
        } else if let Some(host) = address.strip_prefix("tcp://") {
            let listener = tokio::net::TcpListener::bind(host).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
            let connections = TcpListenerStream::new(listener);
            servers.spawn(kiln_wire::channel::serve_all(router, connections));
        } else {
            anyhow::bail!("cannot listen on {address}: expected unix:///PATH or tcp://HOST:PORT");
        }
        tracing::info!(%address, "listening");
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        Some(ended) = servers.join_next() => ended??,
    }
    tracing::info!("stopping");
    daemon.flush().await;
    for path in addresses.iter().filter_map(|address| address.strip_prefix("unix://")) {
        std::fs::remove_file(path).ok();
    }
    Ok(())
}

/// Listens on a path; what a daemon that was killed left there is removed.
fn listen(path: &str) -> std::io::Result<UnixListener> {
    let path = std::path::Path::new(path);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).ok();
    }
    UnixListener::bind(path)
}
