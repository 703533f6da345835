//! How the steps of this daemon are connected: from settings to networks, and what is said about it.

use std::path::PathBuf;

use kiln_bridge::Notice;
use kiln_network::{Mode, NetworkOptions, Networks};

use crate::Settings;
use crate::config::{NetworkConfig, NetworkModeName};

/// The label of a worker that says more about its network.
const LABEL: &str = "kiln.dev/network";

/// What networks are made from. `state` is a directory for this alone.
pub(crate) fn options(settings: &Settings, state: PathBuf) -> NetworkOptions {
    let config = settings.network.as_ref();
    let text = |of: fn(&NetworkConfig) -> &PathBuf| config.map(of).cloned().unwrap_or_default();
    NetworkOptions {
        mode: config.map_or(Mode::Host, mode),
        cni_config: text(|config| &config.cni_config),
        cni_binaries: text(|config| &config.cni_binaries),
        pool_size: config.and_then(|config| config.pool_size),
        bridge: config.map(|config| config.bridge.clone()).unwrap_or_default(),
        subnet: config.and_then(|config| config.subnet),
        run: text(|config| &config.run),
        state,
        environment: settings.host_env.clone(),
    }
}

fn mode(config: &NetworkConfig) -> Mode {
    match config.mode {
        NetworkModeName::Auto if config.auto_bridge => Mode::Auto,
        NetworkModeName::Auto => Mode::AutoWithoutBridge,
        NetworkModeName::Host => Mode::Host,
        NetworkModeName::Bridge => Mode::Bridge,
        NetworkModeName::Cni => Mode::Cni,
        NetworkModeName::None => Mode::None,
    }
}

/// Says at the start of the daemon how steps are connected.
pub(crate) fn announce(networks: &Networks) {
    match networks.refused() {
        Some(why) => tracing::warn!(why, "{SHORT}"),
        None => {
            let subnet = networks.subnet().map(tracing::field::display);
            tracing::info!(network = networks.kind(), subnet, "how steps are connected");
        }
    }
}

/// What the worker says about it.
pub(crate) fn labels(networks: &Networks) -> Option<(String, String)> {
    let text = match (networks.refused(), networks.subnet()) {
        (Some(why), _) => format!("refused: {why}"),
        (None, subnet) => format!("subnet {}", subnet?),
    };
    Some((LABEL.to_owned(), text))
}

/// What is said in one line where steps have less than they should.
const SHORT: &str = "steps use the network of the machine, as no other can be made";

/// What a build shows whose steps should have had a network of their own.
pub(crate) fn notice(networks: &Networks) -> Option<Notice> {
    let why = networks.refused()?;
    Some(Notice {
        step: "[internal] network of steps".to_owned(),
        short: SHORT.to_owned(),
        detail: format!(
            "{why}. Steps reach what listens on the machine's loopback. Give the daemon root's rights over its \
             network, or say networkMode = \"host\" (--oci-worker-net=host) if that is meant"
        ),
    })
}
