//! The configuration of a daemon: flags, variables and a file, understood.
//!
//! [`CommandLine::parse`], [`variables`] and [`Layer::of_file`] read texts; [`Config::of`] lays them
//! over one another and understands them, or says everything that is wrong, each where it stands.
//! Every flag and key of BuildKit's daemon is known ([`KEYS`], [`FLAGS`]): it is honoured, or has no
//! effect and the log says so, or is refused with what to do instead. Nothing here opens a file or
//! looks at the machine.

mod address;
mod checked;
mod file;
mod flags;
mod judge;
mod keys;
mod layers;
mod policies;
mod program;
mod quantity;
mod registries;
#[cfg(test)]
mod tests;

pub use address::{Address, AddressError, PassedSocket};
pub use checked::{
    CacheSignersConfig, CdiConfig, Collection, Config, DnsConfig, FrontendsConfig, Group,
    HistoryConfig, NetworkConfig, PluginsConfig, Sockets, StoppingConfig, TlsFiles, WorkerConfig,
};
pub use file::{ConfigFile, Entitlement, InterruptedCaches, LogFormat, NetworkModeName};
pub use flags::{CommandLine, FLAGS, Flag, Sets, VARIABLES, command, variables};
pub use keys::{KEYS, Key, Treatment};
pub use layers::{ConfigError, Layer};
pub use policies::{Bounds, Policy};
pub use program::{Defaults, Environment, Program};
pub use quantity::{DiskSpace, duration};
pub use registries::RegistryConfig;

/// The JSON Schema of the configuration file, as it is committed under `schemas/`.
#[must_use]
pub fn schema() -> String {
    kiln_document::schema::<ConfigFile>()
}
