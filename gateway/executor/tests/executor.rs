//! Runs the suite of executors for each one this machine has, and what only the native one promises.
//!
//! The spawner is this program itself, so there is no test harness: `main` is the list. An argument
//! chooses the tests whose names contain it.

#![expect(clippy::print_stdout, reason = "this is the test runner")]

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;

use kiln_executor::testing::{Lab, executor_suite};
use kiln_executor::{Executor, Native, Spawner, spawner_main_if_asked};

fn main() -> ExitCode {
    spawner_main_if_asked();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let filter = filter.unwrap_or_default();
    let directory = tempfile::tempdir().expect("make a directory");
    let spawner = Spawner::start(&directory.path().join("scratch")).expect("start the spawner");
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    let executors: Vec<Box<dyn Executor>> = vec![Box::new(Native::new(spawner))];
    let mut failed = 0;
    for executor in &executors {
        failed += run_suite(&runtime, executor.as_ref(), directory.path(), &filter);
    }
    println!("{failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

fn run_suite(
    runtime: &tokio::runtime::Runtime,
    executor: &dyn Executor,
    directory: &Path,
    filter: &str,
) -> u32 {
    let lab = Lab::new(executor, directory).expect("make a laboratory");
    let mut failed = 0;
    for (name, case) in executor_suite() {
        let name = format!("{}::{name}", executor.name());
        if name.contains(filter) {
            let run = AssertUnwindSafe(|| runtime.block_on(case(&lab)));
            let passed = std::panic::catch_unwind(run).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            failed += u32::from(!passed);
        }
    }
    failed
}
