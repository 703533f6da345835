//! The daemon in a process of its own, on a socket of its own.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Outcome, Running, start};
use crate::{Kiln, binaries};

/// A running `kilnd`; ended on drop.
#[derive(Debug)]
pub struct Kilnd {
    process: Running,
    directory: TempDir,
}

impl Default for Kilnd {
    fn default() -> Self {
        Self::start()
    }
}

impl Kilnd {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("failed to make a directory"))
    }

    #[track_caller]
    fn start_in(directory: TempDir) -> Self {
        let mut command = Command::new(binaries().path("kilnd"));
        command.arg(format!("--addr={}", address(&directory)));
        command.arg("--root").arg(directory.path().join("state"));
        command.env_clear().env("HOME", directory.path()).env("PATH", crate::kiln::SEARCH_PATH);
        Self { process: start(command, b""), directory }
    }

    /// A client of it, which waits until it is up.
    pub fn client(&self) -> Kiln {
        Kiln::of_daemon(&address(&self.directory)).flag("--wait")
    }

    /// Kills it and starts another on the same state and socket.
    #[track_caller]
    #[must_use]
    pub fn killed_and_restarted(self) -> Self {
        self.process.kill();
        Self::start_in(self.directory)
    }

    /// Asks it to end, and waits.
    #[track_caller]
    pub fn stop(self) -> Outcome {
        self.process.signal(Signal::TERM);
        self.process.wait(Duration::from_secs(20))
    }
}

fn address(directory: &TempDir) -> String {
    format!("unix://{}", directory.path().join("kilnd.sock").display())
}
