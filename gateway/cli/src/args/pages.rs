//! The command line as it is shown: each help screen has the global options that matter to it.
//!
//! All of them may be given everywhere; those that a screen leaves out are on `kiln --help`.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

use super::Cli;

/// Where builds are and go.
const DAEMON: &[&str] = &["addr", "root"];
/// What is said of a daemon in this process that runs builds.
const BUILDS: &[&str] =
    &["addr", "root", "executor", "oci_worker_binary", "unconfined_plugins", "pull_frontends"];
/// What is said of this machine.
const MACHINE: &[&str] = &["root", "executor"];

/// The screens with global options, by the words before `--help`, and which they have.
const SHOWN: &[(&str, &[&str])] = &[
    ("kiln build", BUILDS),
    ("kiln du", DAEMON),
    ("kiln prune", DAEMON),
    ("kiln history ls", DAEMON),
    ("kiln history logs", DAEMON),
    ("kiln history inspect", DAEMON),
    ("kiln history open", DAEMON),
    ("kiln history rm", DAEMON),
    ("kiln why", DAEMON),
    ("kiln doctor", MACHINE),
    ("kiln debug workers", DAEMON),
    ("kiln debug info", DAEMON),
    ("kiln frontend pack", &["root"]),
    ("kiln frontend conform", DAEMON),
];

/// Every command and flag, for parsing and for showing.
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command.mut_subcommands(|below| tailored(below, "kiln"))
}

/// Reads a command line.
///
/// # Errors
///
/// What is wrong with it, or the text that was asked for.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    // Screens are made only for who is shown one.
    if let Ok(cli) = Cli::try_parse_from(&arguments) {
        return Ok(cli);
    }
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

fn tailored(command: clap::Command, above: &str) -> clap::Command {
    let path = format!("{above} {}", command.get_name());
    let shown =
        SHOWN.iter().find(|(screen, _)| *screen == path).map_or(&[][..], |(_, shown)| shown);
    command
        .mut_args(|arg| match arg.is_global_set() && !shown.contains(&arg.get_id().as_str()) {
            true => arg.hide(true),
            false => arg,
        })
        .mut_subcommands(|below| tailored(below, &path))
}
