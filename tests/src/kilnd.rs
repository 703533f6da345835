//! The daemon in a process of its own, on a socket of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Outcome, Running, start};
use crate::{Disk, Kiln, binaries};

/// A running `kilnd`; ended on drop.
#[derive(Debug)]
pub struct Kilnd {
    process: Running,
    disk: Option<Disk>,
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

    /// Starts it with more flags.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    #[track_caller]
    pub fn with(flags: &[&str]) -> Self {
        Self::start_as(tempfile::tempdir().expect("failed to make a directory"), flags)
    }

    /// Starts it under a name, with flags and a configuration file.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    #[track_caller]
    pub fn configured(name: &str, flags: &[&str], file: &str) -> Self {
        Self::configured_on(name, flags, file, 0)
    }

    /// The same with its state on a disk of so many mebibytes, if the machine allows one and it is not 0.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    #[track_caller]
    pub fn configured_on(name: &str, flags: &[&str], file: &str, mebibytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("failed to make a directory");
        let mut command = command(&directory, name);
        let config = directory.path().join("config.toml");
        std::fs::write(&config, file).expect("failed to write a file");
        command.arg("--config").arg(config).args(flags);
        let root = directory.path().join("state");
        let disk = (mebibytes > 0).then(|| {
            std::fs::create_dir(&root).expect("failed to make a directory");
            Disk::mount(&root, mebibytes)
        });
        Self { process: start(command, b""), disk: disk.flatten(), directory }
    }

    /// Starts it by another program (`unshare …`) that makes way for it, and with that program's idea of
    /// what there is: its network is the one that a daemon of a user has.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    #[track_caller]
    pub fn launched_by(launcher: &[&str], name: &str, flags: &[&str]) -> Self {
        Self::launched_in(
            tempfile::tempdir().expect("failed to make a directory"),
            launcher,
            name,
            flags,
        )
    }

    /// Kills it, and starts another on the same state and socket by another program.
    #[track_caller]
    #[must_use]
    pub fn killed_and_launched_by(self, launcher: &[&str], name: &str, flags: &[&str]) -> Self {
        self.process.kill();
        Self::launched_in(self.directory, launcher, name, flags)
    }

    #[track_caller]
    fn launched_in(directory: TempDir, launcher: &[&str], name: &str, flags: &[&str]) -> Self {
        let (first, rest) = launcher.split_first().expect("a launcher has a name");
        let mut command = prepared(Command::new(first), &directory);
        command.args(rest).arg(program(&directory, name)).args(places(&directory)).args(flags);
        Self { process: start(command, b""), disk: None, directory }
    }

    #[track_caller]
    fn start_in(directory: TempDir) -> Self {
        Self::start_as(directory, &[])
    }

    #[track_caller]
    fn start_as(directory: TempDir, flags: &[&str]) -> Self {
        let mut command = command(&directory, "kilnd");
        command.args(flags);
        Self { process: start(command, b""), disk: None, directory }
    }

    /// Where its socket, its state and its configuration file are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client of it, which waits until it is up.
    pub fn client(&self) -> Kiln {
        Kiln::of_daemon(&address(&self.directory)).flag("--wait")
    }

    /// Where its socket is.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("kilnd.sock")
    }

    /// Where its state is.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The disk its state is on, if that is its own.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Where the files are that it needs for a while.
    pub fn temporary(&self) -> PathBuf {
        temporary(self.directory.path())
    }

    /// Its process id.
    pub fn id(&self) -> rustix::process::Pid {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.errors_so_far()
    }

    /// Waits until it has logged a text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        self.process.wait_for(text, limit);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Outcome {
        self.process.wait(limit)
    }

    /// Stops it and starts another on the same state and socket, with these flags.
    #[track_caller]
    #[must_use]
    pub fn restarted_with(self, flags: &[&str]) -> Self {
        self.process.signal(Signal::TERM);
        self.process.wait(Duration::from_secs(20));
        Self::start_as(self.directory, flags)
    }

    /// Waits for its end, which something else has asked for, and starts another on the same state and
    /// socket.
    #[track_caller]
    #[must_use]
    pub fn restarted_once_ended(self, limit: Duration) -> Self {
        self.process.wait(limit);
        Self::start_in(self.directory)
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

/// A daemon of this name, on a socket and state in a directory. Nothing of the tester's own settings
/// reaches it, and it makes nothing of its own in the network of the machine.
fn command(directory: &TempDir, name: &str) -> Command {
    let mut command = prepared(Command::new(program(directory, name)), directory);
    command.args(places(directory)).arg("--oci-worker-net=host");
    command
}

fn program(directory: &TempDir, name: &str) -> PathBuf {
    let program = directory.path().join(name);
    if !program.exists() {
        std::os::unix::fs::symlink(binaries().path("kilnd"), &program).expect("failed to link");
    }
    program
}

/// Where it makes files that it needs for a while.
fn temporary(directory: &Path) -> PathBuf {
    directory.join("tmp")
}

fn places(directory: &TempDir) -> [String; 2] {
    let root = directory.path().join("state");
    [format!("--addr={}", address(directory)), format!("--root={}", root.display())]
}

fn prepared(mut command: Command, directory: &TempDir) -> Command {
    let temporary = temporary(directory.path());
    std::fs::create_dir_all(&temporary).expect("failed to make a directory");
    command.env_clear().env("HOME", directory.path()).env("PATH", crate::kiln::SEARCH_PATH);
    command.env("TMPDIR", temporary);
    command
}

fn address(directory: &TempDir) -> String {
    format!("unix://{}", directory.path().join("kilnd.sock").display())
}
