//! The commands that look inside.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

/// A command of `debug`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum DebugCommand {
    /// Show an LLB definition
    DumpLlb(DumpLlbArgs),
    /// Show the workers of the daemon
    Workers(WorkersArgs),
    /// Show the version of the daemon
    Info(InfoArgs),
}

/// Which definition, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DumpLlbArgs {
    /// As a graph in the DOT language
    #[arg(long)]
    pub dot: bool,
    /// The definition; - or nothing for standard input
    #[arg(value_name = "FILE", allow_hyphen_values = true)]
    pub file: Option<PathBuf>,
}

/// Which workers, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct WorkersArgs {
    /// Show only workers that match
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Show all that is known of each worker
    #[arg(long, short = 'v')]
    pub verbose: bool,
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// How the version is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct InfoArgs {
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}
