//! kilnd: configuration, wiring, start and stop.
//!
//! [`config`] becomes [`Settings`]; [`Daemon::start`] puts store, worker, engine, frontends, builder and
//! services together once; [`Daemon::serve`] serves them on any byte stream, and [`listen`] on sockets;
//! `stop.rs` ends all of it in order. The command line embeds the same daemon over an in-memory stream. This
//! is the only crate that knows all others, and the only one that names a frontend. How a build goes is in
//! `kiln_build`, what is served in `kiln_control`.

pub mod config;
mod daemon;
pub mod debug;
mod images;
mod languages;
pub mod listen;
mod local;
mod logs;
mod memory;
mod network;
mod settings;
mod step_defaults;
mod stop;

pub use daemon::{Daemon, StartError};
pub use kiln_bridge::{PluginDirectory, Plugins};
pub use kiln_build::{Collector, CollectorError, ProvenanceEnvError};
pub use kiln_cdi::Grant;
pub use kiln_executor::Privileges;
pub use kiln_graph::Entitlements;
pub use kiln_remotecache::CloudEnvironment;
pub use languages::{Channel, LINKED, editing, linked};
pub use local::private_process;
pub use logs::LogLevel;
pub use memory::give_back_free_memory;
pub use settings::{ExecutorChoice, HOST_VARIABLES, Settings};
pub use stop::Stopped;
