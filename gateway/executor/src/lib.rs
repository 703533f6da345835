//! Runs the processes of a build: plain paths and mounts in, exit status and output out.
//!
//! An [`Executor`] is given a [`Process`], which is all data, and [`Stdio`]; it answers with a
//! [`Running`] process. [`Native`] makes containers itself, through a [`Spawner`] that the daemon
//! starts once; [`OciRuntime`] leaves that to runc or crun. What the kernel grants is found out first,
//! by [`Privileges`]. Stores, graphs and sessions are unknown here.
//! This is the only crate that starts the processes of a build; those of the host (plugins, git)
//! are started with [`spawn_host`]. A program that uses it calls [`spawner_main_if_asked`] first
//! thing in its `main`.

mod capabilities;
mod cgroup;
mod container;
mod device_program;
mod emulation;
mod executor;
mod name;
mod native;
mod network_files;
mod oci;
mod privileges;
mod process;
mod programs;
mod seccomp;
mod spawner;
mod stdio;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
mod unavailable;
pub mod userns;

pub use emulation::{Emulation, Registration};
pub use executor::{ExecError, Executor, ExitStatus, Running};
pub use name::unique_id;
pub use native::{HostRunning, Native, spawn_host};
pub use network_files::host_resolv_conf;
pub use oci::OciRuntime;
pub use privileges::{Privileges, Standing};
pub use process::{
    DeviceNode, ExecProcess, Hook, HostProcess, Mount, MountSource, Network, Process, Resources,
    Rootfs, Security, TRUST_BUNDLES, Ulimit,
};
pub use programs::programs_called;
pub use spawner::{Spawner, spawner_main_if_asked};
pub use stdio::{Pipes, Stdio, Terminal};
pub use unavailable::Unavailable;
