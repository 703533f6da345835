//! The flags of `history`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

/// A command of `history`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Show the builds that run and those that are remembered
    Ls(HistoryLsArgs),
    /// Show the progress of a build again
    Logs(HistoryBuildArgs),
    /// Show all that is known of a build, as JSON
    Inspect(HistoryBuildArgs),
    /// Show a build as a page: graph, timeline, critical path, logs, materials
    Open(HistoryOpenArgs),
    /// Forget builds
    Rm(HistoryRmArgs),
}

/// Which builds, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct HistoryLsArgs {
    /// Show only builds that match, such as status==error or startedAt>1h
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Show at most so many that have ended, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub limit: i32,
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Which build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct HistoryBuildArgs {
    /// The build, or how its id begins; the newest unless given
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
}

/// Which build, and where its page goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct HistoryOpenArgs {
    /// The build, or how its id begins; the newest unless given
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// File to write the page to, - for standard output; a temporary one unless given
    #[arg(long, short = 'o', value_name = "FILE", allow_hyphen_values = true)]
    pub output: Option<PathBuf>,
    /// Print where the page is, and start no browser
    #[arg(long)]
    pub print: bool,
}

/// Which builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct HistoryRmArgs {
    /// The builds, or how their ids begin
    #[arg(value_name = "BUILD", required = true)]
    pub builds: Vec<String>,
}
