//! What a process needs, as data.

use std::path::Path;

use kiln_engine::Output;
use kiln_executor::{Mount, Resources};
use kiln_graph::Exec;
use kiln_oci::Platform;
use kiln_store::Ref;

use crate::plugin;

/// What a process needs, whoever asks for it.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The beginning of its container's name.
    pub name: String,
    /// Its program, user, environment, mounts, network, devices and secrets, in the words of an exec op.
    pub exec: Exec,
    /// What the mounts of `exec` show, by number.
    pub inputs: Vec<Output<Ref>>,
    /// What its program is for.
    pub platform: Platform,
    /// Limits of its cgroup.
    pub resources: Resources,
    /// What of the machine it sees besides, by the daemon's own choice.
    pub host_mounts: Vec<Mount>,
    /// It is kept from all that a process can be kept from: its root is memory, it has no capability and no
    /// way to gain one, and no resolver of names.
    pub restricted: bool,
}

impl ProcessSpec {
    /// A process that is asked for by an exec op or in its words.
    pub fn new(name: impl Into<String>, exec: Exec, platform: Platform) -> Self {
        Self {
            name: name.into(),
            exec,
            inputs: Vec::new(),
            platform,
            resources: Resources::default(),
            host_mounts: Vec::new(),
            restricted: false,
        }
    }

    /// A frontend that is a plugin: it sees the programs and libraries of the system, and itself.
    ///
    /// # Errors
    ///
    /// If the first bytes of its executable cannot be read.
    pub fn plugin(executable: &Path, env: Vec<String>) -> std::io::Result<Self> {
        plugin::confined(executable, env)
    }
}
