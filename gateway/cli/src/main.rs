//! kiln: the command line, and the daemon it embeds.
//!
//! Arguments and the environment come in, an exit code goes out; `args::exit_codes` lists them.
//! `main` is a list of steps in the order the system wants them; the modules below are pure but for
//! `commands`, `connect`, `doctor::look`, `embedded` and `progress::watch`.

mod args;
mod build_command;
mod cache_metrics;
mod commands;
mod completion;
mod connect;
mod doctor;
mod embedded;
mod endpoint;
mod environment;
mod expected_cache;
mod failure;
mod frontend_location;
mod hooks;
mod lint;
mod manual;
mod metadata;
mod missing_file;
mod options;
mod output;
mod own_socket;
mod pack;
mod page;
mod progress;
mod project;
mod question;
mod records;
mod samples;
mod solve_request;
mod source_policy;
mod step_pattern;
mod template;
mod usage;
mod watch;
mod why;
mod workers;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use kiln_daemon::LogLevel;

use args::{Command, Global, LogFormat, normalize};
use commands::Context;
use embedded::{Ending, OwnDaemon};
use endpoint::Endpoint;
use environment::Environment;
use output::complain;

/// How long the daemon in this process may take to close its files.
const SHUTDOWN_GRACE: std::time::Duration = std::time::Duration::from_millis(500);

fn main() -> ExitCode {
    hooks::become_helper_if_asked();
    // Read before the user namespace makes everybody root.
    let environment = Environment::of_process();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match args::parse(normalize(environment.program, arguments)) {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let Some(command) = cli.command else {
        return match args::command().print_long_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    let started = start_logs(&cli.global, &environment);
    match started.and_then(|()| run(&cli.global, environment, command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&failure::report(&error));
            failure::exit_code(&error)
        }
    }
}

/// Prepares the process, then does the command.
fn run(global: &Global, environment: Environment, command: Command) -> anyhow::Result<()> {
    let mut endpoint = match command.is_about_this_machine() {
        true => Endpoint::here(global, &environment),
        false => Endpoint::decide(global, &environment)?,
    };
    hooks::prepare_process(&mut endpoint, &command)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let context = Context { endpoint, environment, own_daemon: OwnDaemon::default() };
    let result = runtime.block_on(async {
        let result = commands::run(&context, command).await;
        context.own_daemon.stop(Ending::of(&result)).await;
        result
    });
    // The daemon closes its files. A read of standard input that never ends must not keep the
    // process, so there is an end to waiting.
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    result
}

/// Shows what clap has to say: help and versions are no errors.
fn usage_error(error: &clap::Error) -> ExitCode {
    // If nobody can read it, nobody can be told.
    error.print().ok();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn start_logs(global: &Global, environment: &Environment) -> anyhow::Result<()> {
    let level = global.debug.unwrap_or(LogLevel::Warn);
    let filter = level.filter(environment.get_nonempty("KILND_LOG")).context("KILND_LOG")?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(environment.log_colours())
        .with_writer(std::io::stderr);
    match global.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
