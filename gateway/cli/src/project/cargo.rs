//! Cargo, run as a child that never outlives its owner.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::Project;
use super::metadata::{Metadata, ProjectError};

/// More than this cargo does not say, in bytes.
const MAX_MESSAGES_BYTES: u64 = 64 << 20;

/// How cargo is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cargo {
    /// The program.
    pub program: OsString,
    /// It may not ask the network for anything.
    pub offline: bool,
    /// It says nothing unless something is wrong.
    pub quiet: bool,
}

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Build<'a> {
    /// The project.
    pub project: &'a Project,
    /// With this profile.
    pub profile: &'a str,
}

/// Why cargo did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CargoError {
    /// It cannot be started.
    #[error("failed to start {program}: is Rust's cargo installed?")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be listened to.
    #[error("failed to read what cargo says")]
    Read(#[from] std::io::Error),
    /// It says no; why is on standard error.
    #[error("cargo {what} failed in {directory} ({status})")]
    Failed {
        /// The command.
        what: String,
        /// The project.
        directory: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It built, but not what was asked for.
    #[error("cargo built {0}, but does not say where it is")]
    NoExecutable(String),
}

impl Cargo {
    /// Describes the project in `directory`.
    pub(super) async fn metadata(&self, directory: &Path) -> Result<Metadata, ProjectError> {
        // Without dependencies nothing is downloaded, whatever the network.
        let words = ["metadata", "--no-deps", "--format-version=1"];
        let json = self.run(directory, &words, Stdio::piped()).await?;
        Metadata::parse(directory, &json)
    }

    /// Builds the frontend of a project and says where it is.
    ///
    /// # Errors
    ///
    /// If cargo cannot be run, or the project cannot be compiled.
    ///
    /// # Cancellation
    ///
    /// Safe at any await: cargo and the compilers it started are ended.
    pub(crate) async fn build(&self, build: &Build<'_>) -> Result<PathBuf, CargoError> {
        let Build { project, profile } = build;
        let (program, package) = (&project.program, &project.package.name);
        let words = [
            "build",
            "--message-format=json-render-diagnostics",
            "--profile",
            profile,
            "--package",
            package,
            "--bin",
            program,
        ];
        let messages = self.run(&project.directory, &words, Stdio::piped()).await?;
        let executable = String::from_utf8_lossy(&messages)
            .lines()
            .filter_map(|line| serde_json::from_str::<Message>(line).ok())
            .filter(|message| message.target.as_ref().is_some_and(|t| t.name == **program))
            .find_map(|message| message.executable);
        executable.ok_or_else(|| CargoError::NoExecutable(program.clone()))
    }

    /// Runs the tests of a project; what they say goes to standard output.
    ///
    /// # Errors
    ///
    /// If cargo cannot be run, or a test fails.
    ///
    /// # Cancellation
    ///
    /// As with [`Cargo::build`].
    pub(crate) async fn test(
        &self,
        project: &Project,
        arguments: &[String],
    ) -> Result<(), CargoError> {
        let words: Vec<&str> = ["test", "--package", &project.package.name]
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect();
        self.run(&project.directory, &words, Stdio::inherit()).await.map(|_| ())
    }

    async fn run(
        &self,
        directory: &Path,
        words: &[&str],
        stdout: Stdio,
    ) -> Result<Vec<u8>, CargoError> {
        let mut command = Command::new(&self.program);
        command.current_dir(directory).stdin(Stdio::null()).stdout(stdout);
        // Of its own group, so that one signal ends it with its compilers.
        command.process_group(0).kill_on_drop(true);
        command.args(&words[..1]);
        if self.offline {
            command.arg("--offline");
        }
        if self.quiet {
            command.arg("--quiet");
        }
        command.args(&words[1..]);
        let program = || self.program.to_string_lossy().into_owned();
        let child =
            command.spawn().map_err(|source| CargoError::Start { program: program(), source })?;
        let mut group = Group(child);
        let mut output = Vec::new();
        if let Some(stdout) = group.0.stdout.take() {
            stdout.take(MAX_MESSAGES_BYTES).read_to_end(&mut output).await?;
        }
        let status = group.0.wait().await?;
        if !status.success() {
            let (what, directory) = (words[0].to_owned(), directory.to_owned());
            return Err(CargoError::Failed { what, directory, status });
        }
        Ok(output)
    }
}

/// A child and all that it started; ended on drop, unless it has ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = id {
            // It may have ended meanwhile.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// A line of cargo's messages.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<MessageTarget>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
}
