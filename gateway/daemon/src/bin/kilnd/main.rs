//! kilnd: the daemon on its sockets.
//!
//! The command line, variables and a configuration file are read here, once, and understood by the
//! library; listening, serving and stopping in order is what happens then.

mod serving;
mod setup;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use kiln_daemon::config::{Config, LogFormat};
use kiln_daemon::{Collector, Settings};
use rustix::fs::Mode;
use tracing_subscriber::EnvFilter;

use crate::setup::{NoSetup, Setup};

/// How long files may take to be closed.
const CLOSE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    kiln_executor::spawner_main_if_asked();
    kiln_daemon::give_back_free_memory();
    let setup = match Setup::read(std::env::args_os()) {
        Ok(setup) => setup,
        Err(NoSetup::Asked(text)) => {
            answer(&text);
            return ExitCode::SUCCESS;
        }
        Err(NoSetup::Failure(text)) => {
            complain(&text);
            return ExitCode::FAILURE;
        }
    };
    match start(setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for is output, which may be piped on.
fn answer(text: &str) {
    // Who reads only the beginning has read enough.
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// There is no log yet.
#[expect(clippy::print_stderr, reason = "what is wrong with the configuration of the log, too")]
fn complain(text: &str) {
    eprint!("{text}");
}

fn start(mut setup: Setup) -> anyhow::Result<()> {
    let config = &setup.config;
    let directives = setup.environment.get("KILND_LOG");
    start_logs(config, config.log_level.filter(directives).context("KILND_LOG")?);
    for remark in setup.remarks.iter().chain(&config.remarks) {
        tracing::warn!("{remark}");
    }
    // What is private is made so; what builds make must not depend on who started the daemon.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Read before the user namespace, in which everyone is root.
    let settings = Settings::of(config, setup.host_env()).context("cannot read certificates")?;
    let collector = Collector::of_environment(|name| setup.environment.get(name))?;
    let settings = Settings { collector, ..settings };
    let privileges =
        kiln_daemon::private_process(&settings.root).context("cannot prepare the process")?;
    let cloud_environment = setup.cloud_environment();
    let settings = Settings { privileges, cloud_environment, ..settings };
    let passed = std::mem::take(&mut setup.passed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serving::serve(&setup, settings, passed));
    runtime.shutdown_timeout(CLOSE);
    served
}

fn start_logs(config: &Config, filter: EnvFilter) {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
