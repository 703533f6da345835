//! The flags that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kiln_daemon::LogLevel;

/// Where the daemon is and how it is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Address of a daemon (unix://PATH, tcp://HOST:PORT); without one kiln runs its own
    /// [env: BUILDKIT_HOST]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub addr: Option<String>,
    /// Log what happens; --debug=trace logs HTTP/2, too
    #[arg(long, global = true, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
          default_missing_value = "debug", value_parser = log_level)]
    pub debug: Option<LogLevel>,
    /// How logs are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Name the daemon's certificate must have
    #[arg(long, global = true, value_name = "NAME")]
    pub tlsservername: Option<String>,
    /// Certificate authority of the daemon
    #[arg(long, global = true, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// Certificate of this client
    #[arg(long, global = true, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Key of this client's certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Directory with ca.pem, cert.pem and key.pem
    #[arg(long, global = true, value_name = "DIRECTORY",
          conflicts_with_all = ["tlscacert", "tlscert", "tlskey"])]
    pub tlsdir: Option<PathBuf>,
    /// How long to wait for a connection, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5)]
    pub timeout: u64,
    /// Wait until the daemon can be reached
    #[arg(long, global = true)]
    pub wait: bool,
    /// Where kiln's own daemon keeps its state
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// What runs processes: native, runc, crun or the path of an OCI runtime
    #[arg(long, global = true, value_name = "EXECUTOR", default_value = "native")]
    pub executor: ExecutorChoice,
    /// OCI runtime to run processes with; the same as --executor=PATH
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "executor")]
    pub oci_worker_binary: Option<PathBuf>,
    /// Run frontend plugins as plain processes, with all that you may do
    #[arg(long, global = true)]
    pub unconfined_plugins: bool,
    /// Pull the images of frontends, also where one that is linked in stands for them
    #[arg(long, global = true)]
    pub pull_frontends: bool,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What runs the processes of builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExecutorChoice {
    /// Kiln's own.
    #[default]
    Native,
    /// An OCI runtime, by name or path.
    Oci(PathBuf),
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::of_debug_flag(text, LogLevel::Warn)
}

impl std::str::FromStr for ExecutorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an executor is native, runc, crun or the path of an OCI runtime".to_owned()),
            "native" => Ok(Self::Native),
            path => Ok(Self::Oci(path.into())),
        }
    }
}

impl Global {
    /// What runs processes, however it was asked for.
    pub(crate) fn executor(&self) -> ExecutorChoice {
        match &self.oci_worker_binary {
            Some(path) => ExecutorChoice::Oci(path.clone()),
            None => self.executor.clone(),
        }
    }
}
