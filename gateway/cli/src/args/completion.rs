//! The flags of `completion` and `manual`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which shell, and which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct CompletionArgs {
    /// Shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// Program
    #[arg(value_name = "PROGRAM", default_value = "kiln")]
    pub program: ProgramName,
}

/// A shell whose words are completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU's.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// A program that has a command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgramName {
    /// The client.
    #[default]
    Kiln,
    /// The daemon.
    Kilnd,
}

/// Where the pages go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ManualArgs {
    /// Directory the pages are written to
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}
