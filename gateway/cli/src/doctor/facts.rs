//! What is known of a machine: plain values, which tests make up.

use std::path::PathBuf;
use std::time::SystemTime;

use kiln_emulation::{Machine, Way};
use kiln_executor::Standing;
use kiln_oci::Platform;

/// What is known of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The release of the kernel, such as `6.1.0-18-amd64`.
    pub kernel: String,
    /// Who asks, by name or number.
    pub user: String,
    /// Where this process stands with the kernel.
    pub standing: Standing,
    /// Why no process can be run in a container.
    pub containers: Option<String>,
    /// Why layers cannot be stacked.
    pub overlay: Option<String>,
    /// What keeps users from namespaces.
    pub namespaces: NamespaceLimits,
    /// Whose ids files can have.
    pub ids: Ids,
    /// How processes are limited.
    pub groups: Groups,
    /// How processes are connected.
    pub network: Network,
    /// Where state is kept.
    pub disk: Option<Disk>,
    /// What the clock says.
    pub now: SystemTime,
    /// When this program was installed.
    pub installed: SystemTime,
    /// How many authorities are trusted.
    pub authorities: usize,
    /// Programs that are there.
    pub programs: Vec<&'static str>,
    /// What runs programs of which platform.
    pub machine: Machine,
    /// Why the kernel cannot be told of emulators for builds alone; nothing, if there are none.
    pub private_table: Option<String>,
    /// What became of the smallest program of each platform that is run here.
    pub tried: Vec<Trial>,
}

/// What keeps users from making namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamespaceLimits {
    /// How many a user may have.
    pub most: Option<u64>,
    /// Whether Debian's switch for users is off.
    pub switched_off: bool,
    /// Whether AppArmor takes their rights away.
    pub restricted: bool,
}

/// Whose ids files can have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ids {
    /// How many there are.
    pub mapped: u64,
    /// Whether the user has more in `/etc/subuid` and `/etc/subgid`.
    pub granted: bool,
}

/// Control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// Of version 2, with these controllers, and whether they can be used.
    Version2 { controllers: Vec<String>, writable: bool },
    /// Of version 1.
    Version1 { writable: bool },
    /// Not mounted.
    None,
}

/// How processes are connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    /// Whether the machine knows a server for names, other than itself.
    pub name_servers: bool,
    /// Whether the kernel filters packets by nftables.
    pub filter: bool,
}

/// A file system.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// What is kept there.
    pub path: PathBuf,
    /// Bytes.
    pub free: u64,
    /// Files.
    pub free_files: u64,
}

/// What became of the smallest program of a platform.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The platform.
    pub platform: Platform,
    /// How it was run.
    pub way: Way,
    /// Why it did not run.
    pub failed: Option<String>,
}
