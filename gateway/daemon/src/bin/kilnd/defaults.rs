//! What follows from the user and the environment.
//!
//! Read once, before the process continues in a user namespace, in which everyone is root.

use std::path::PathBuf;

use kiln_daemon::{HOST_VARIABLES, PluginDirectory};

use crate::arguments::Arguments;

/// What is used where the command line says nothing.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// Where state is kept.
    pub(crate) root: PathBuf,
    /// Where the daemon listens.
    pub(crate) address: String,
    /// What programs of the daemon get.
    pub(crate) host_env: Vec<(String, String)>,
    /// Directories with plugins, as they are for who started the daemon.
    pub(crate) plugins: Vec<PluginDirectory>,
    /// What is logged, spelled out.
    pub(crate) log_directives: Option<String>,
}

impl Defaults {
    /// Reads the environment of this process.
    pub(crate) fn read(arguments: &Arguments) -> Self {
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
        let plugins: Vec<PathBuf> =
            arguments.plugin_path.iter().cloned().chain(std::env::split_paths(&plugins)).collect();
        Self {
            root: root.into(),
            address: format!("unix://{socket}"),
            host_env: HOST_VARIABLES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
                .collect(),
            // An empty one would be whatever directory the daemon was started in.
            plugins: plugins
                .into_iter()
                .filter(|path| !path.as_os_str().is_empty())
                .map(PluginDirectory::inspect)
                .collect(),
            log_directives: variable("KILND_LOG").filter(|text| !text.is_empty()),
        }
    }
}
