//! kilnd: configuration, the Control service, and the wiring of all other crates.
//!
//! [`Daemon::start`] puts store, worker, engine and frontends together; [`Daemon::serve`] speaks
//! BuildKit's Control API and gateway on any byte stream. The command line embeds the same daemon
//! over an in-memory stream. This is the only crate that knows all others, and the only one that
//! names a frontend.

mod attestations;
mod build;
mod builds;
mod caches;
mod claims;
pub mod config;
mod content;
mod control;
mod daemon;
pub mod debug;
mod explain;
mod gate;
mod images;
mod languages;
pub mod listen;
mod local;
mod logs;
mod network;
mod platforms;
mod provenance_env;
mod recording;
mod reflection;
mod request;
mod session_exporters;
mod settings;
mod step_defaults;
mod stop;
mod traces;

pub use daemon::{Daemon, StartError};
pub use kiln_bridge::{PluginDirectory, Plugins};
pub use kiln_cdi::Grant;
pub use kiln_executor::Privileges;
pub use kiln_graph::Entitlements;
pub use kiln_remotecache::CloudEnvironment;
pub use languages::{Channel, LINKED, editing, linked};
pub use local::private_process;
pub use logs::LogLevel;
pub use provenance_env::ProvenanceEnvError;
pub use settings::{ExecutorChoice, HOST_VARIABLES, Settings};
pub use stop::Stopped;
pub use traces::{Collector, CollectorError};
