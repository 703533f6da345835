//! The commands: thin shells that open files and connections and do what was decided elsewhere.
//!
//! One file per command; each is given a [`Context`] and its typed arguments, and returns when the
//! command is done. Only here, in `progress::watch` and in `main` does the program touch the world.

pub(crate) mod build;
mod chroot;
mod completion;
mod context;
mod debug;
mod dial_stdio;
mod doctor;
mod du;
mod frontend;
mod history;
mod lint;
mod load;
mod lsp;
mod prune;
mod report;
pub(crate) mod signals;
#[cfg(test)]
mod tests;
mod why;

pub(crate) use context::Context;

use crate::args::Command;

/// Does one command.
///
/// # Errors
///
/// Whatever keeps it from being done; `failure::report` shows it.
pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    // Each on the heap: together they are larger than the stack of a thread.
    match command {
        Command::Build(args) => Box::pin(build::run(context, *args)).await,
        Command::Du(args) => Box::pin(du::run(context, args)).await,
        Command::Prune(args) => Box::pin(prune::run(context, args)).await,
        Command::History(command) => Box::pin(history::run(context, command)).await,
        Command::Doctor(args) => Box::pin(doctor::run(context, args)).await,
        Command::Why(args) => Box::pin(why::run(context, args)).await,
        Command::Lint(args) => Box::pin(lint::run(context, args)).await,
        Command::Lsp(args) => lsp::run(&args),
        Command::Debug(command) => Box::pin(debug::run(context, command)).await,
        Command::Frontend(command) => Box::pin(frontend::run(context, command)).await,
        Command::Chroot(args) => chroot::run(&args),
        Command::Completion(args) => completion::completion(args),
        Command::Manual(args) => completion::manual(&args),
        Command::DialStdio => Box::pin(dial_stdio::run(context)).await,
    }
}
