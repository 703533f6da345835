//! The commands that look inside.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AskArgs, Format, LlbFormat};

/// A command of `debug`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum DebugCommand {
    /// Show an LLB definition
    DumpLlb(DumpLlbArgs),
    /// Show the LLB a frontend makes of a file; no daemon is needed
    Llb(LlbArgs),
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
    /// As a picture
    #[arg(long, conflicts_with = "dot")]
    pub svg: bool,
    /// The definition; - or nothing for standard input
    #[arg(value_name = "FILE", allow_hyphen_values = true)]
    pub file: Option<PathBuf>,
}

/// Which frontend and file, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct LlbArgs {
    /// Frontend: a name, or the path of an executable
    #[arg(long, value_name = "NAME|PATH")]
    pub frontend: String,
    /// Build file
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: PathBuf,
    /// What the frontend is asked
    #[command(flatten)]
    pub ask: AskArgs,
    /// Session that local sources name
    #[arg(long, value_name = "ID", default_value = "session-0")]
    pub session: String,
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LlbFormat,
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
