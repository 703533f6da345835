//! What a process needs, prepared in one place: mounts, identity, network, devices, secrets, limits.
//!
//! A [`ProcessSpec`] says what a process needs, whoever asks for it. [`Containers::prepare`] makes that of
//! what the machine has, and [`Containers::run`] or [`Containers::start`] starts the [`Prepared`] process;
//! what it uses is let go when it is gone. That is the only way to a process in a container:
//!
//! | who | what is asked | how it is started |
//! |---|---|---|
//! | an exec op | [`ProcessSpec::new`] | `run`: to its end, with its output in the progress |
//! | a frontend in an image | [`ProcessSpec::new`] | `start`: it speaks over its standard streams |
//! | a plugin | [`ProcessSpec::plugin`] | `start` |
//! | a container of the gateway API | [`ContainerParts`] | [`Containers::open`], then process by process |
//! | a scanner | it is an exec op, in a graph that the bridge makes | `run` |
//!
//! A preparation or a run that fails says which of the mounts show what, so that a client can look into
//! them. Which process is to run, and what its end means, is decided elsewhere. Read `containers.rs`
//! first, then `spec.rs` and `mounts.rs`.

mod containers;
mod spec;

mod cache_mounts;
mod devices;
mod emulators;
mod mounts;
mod process;
mod proxied;
mod secrets;

mod foreign;
mod logs;
mod run;

mod gateway;
mod plugin;

mod error;
pub mod read;
pub mod scope;

#[cfg(test)]
mod tests;

pub use cache_mounts::{CacheMounts, cache_mount_key, fresh_caches};
pub use containers::{Containers, ContainersParts, Prepared, RunningProcess};
pub use emulators::EmulatorOptions;
pub use error::{blocking, failed, files, requester};
pub use gateway::{Container, ContainerParts, Ended, Order, Started};
pub use kiln_network::{Captured, Gap, Judge, Reason};
pub use process::limits;
pub use proxied::JudgeGuard;
pub use run::Finished;
pub use spec::ProcessSpec;
