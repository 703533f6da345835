//! What may be typed: every command and flag, as clap sees them.
//!
//! Arguments come in, structs of plain text go out. Nothing is decided here; `options`,
//! `build_command` and `endpoint` turn the text into types. Flags are those of `buildctl`, and more.

mod build;
mod chroot;
mod completion;
mod debug;
mod doctor;
mod exit_codes;
mod frontend;
mod global;
mod history;
mod lint;
mod llb;
mod pages;
mod spelling;
#[cfg(test)]
mod tests;
mod usage;
mod why;

pub(crate) use build::BuildArgs;
pub(crate) use chroot::ChrootArgs;
pub(crate) use completion::{CompletionArgs, ManualArgs, ProgramName, Shell};
pub(crate) use debug::{DebugCommand, DumpLlbArgs, InfoArgs, LlbArgs, WorkersArgs};
pub(crate) use doctor::DoctorArgs;
pub(crate) use frontend::{
    AskArgs, ConformArgs, DevArgs, FrontendCommand, GraphArgs, NewArgs, PackArgs, ProjectArgs,
    PushArgs, ReplayArgs, SnapshotArgs, TestArgs,
};
pub(crate) use global::{ExecutorChoice, Global, LogFormat};
pub(crate) use history::{HistoryCommand, HistoryOpenArgs};
pub(crate) use lint::{LintArgs, LintFormat, LspArgs};
pub(crate) use llb::{Drawing, LlbFormat};
pub(crate) use pages::{command, parse};
pub(crate) use spelling::{Program, normalize};
pub(crate) use usage::{DuArgs, Format, PruneArgs};
pub(crate) use why::WhyArgs;

use clap::{Parser, Subcommand};

use crate::frontend_location::looks_like_image;
use crate::pack::PackTarget;

/// Builds whatever a frontend can describe.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, arg_required_else_help = false, max_term_width = 100,
          after_help = exit_codes::text())]
pub(crate) struct Cli {
    /// The flags before any command.
    #[command(flatten)]
    pub global: Global,
    /// The command; without one the help is shown.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build from a frontend, or from an LLB definition on standard input
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Show what the build cache holds
    Du(DuArgs),
    /// Remove what the build cache holds and nobody uses
    Prune(PruneArgs),
    /// Show builds that run, and those that are remembered
    #[command(subcommand)]
    History(HistoryCommand),
    /// Say whether builds will work on this machine, and what to do where they will not
    Doctor(DoctorArgs),
    /// Say why the steps of a build ran that were not in the cache
    Why(WhyArgs),
    /// Say what is wrong or doubtful in build files, and put it right
    Lint(LintArgs),
    /// Speak the Language Server Protocol with an editor, on standard input and output
    Lsp(LspArgs),
    /// Look inside
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Make frontends
    #[command(subcommand)]
    Frontend(FrontendCommand),
    /// Print what completes the words of a command in a shell
    Completion(CompletionArgs),
    /// Write the pages of the manual
    #[command(hide = true)]
    Manual(ManualArgs),
    /// Connect standard input and output to the daemon
    #[command(hide = true)]
    DialStdio,
    /// Become a program in another root directory
    #[command(hide = true)]
    Chroot(ChrootArgs),
}

impl Command {
    /// Whether the command looks at this machine, whatever daemon is named.
    pub(crate) fn is_about_this_machine(&self) -> bool {
        matches!(self, Self::Doctor(_))
    }

    /// Whether the command speaks to a daemon.
    pub(crate) fn needs_daemon(&self) -> bool {
        match self {
            Self::Build(_)
            | Self::Du(_)
            | Self::Prune(_)
            | Self::History(_)
            | Self::Why(_)
            | Self::DialStdio => true,
            Self::Debug(command) => {
                !matches!(command, DebugCommand::DumpLlb(_) | DebugCommand::Llb(_))
            }
            Self::Frontend(FrontendCommand::Pack(args)) => {
                PackTarget::parse(&args.output, false) == Ok(PackTarget::Store)
            }
            // An image comes from the daemon.
            Self::Frontend(FrontendCommand::Conform(args)) => looks_like_image(&args.frontend),
            Self::Frontend(_)
            | Self::Chroot(_)
            | Self::Doctor(_)
            | Self::Completion(_)
            | Self::Manual(_)
            | Self::Lint(_)
            | Self::Lsp(_) => false,
        }
    }
}
