//! The command line, with a state directory of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Outcome, Running, run, start};
use crate::project::Project;
use crate::{OciImage, binaries};

/// No build of these tests takes longer, unless the test says so.
const LIMIT: Duration = Duration::from_secs(60);

/// `kiln` with a state directory, or with a daemon elsewhere.
#[derive(Debug)]
pub struct Kiln {
    home: TempDir,
    root: PathBuf,
    flags: Vec<String>,
    launcher: Vec<String>,
    limit: Duration,
}

impl Default for Kiln {
    fn default() -> Self {
        Self::new()
    }
}

impl Kiln {
    /// A state directory that is empty, and goes away on drop.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("failed to make a directory");
        let root = home.path().join("state");
        Self::made(home, root)
    }

    /// State at a place that the caller keeps.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    pub fn at(root: &Path) -> Self {
        Self::made(tempfile::tempdir().expect("failed to make a directory"), root.to_owned())
    }

    fn made(home: TempDir, root: PathBuf) -> Self {
        let flags = vec!["--root".to_owned(), root.display().to_string()];
        Self { home, root, flags, launcher: Vec::new(), limit: LIMIT }
    }

    /// A client of a daemon.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    pub fn of_daemon(address: &str) -> Self {
        let flags = vec!["--addr".to_owned(), address.to_owned()];
        Self { flags, ..Self::new() }
    }

    /// The same with another global flag.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// The same, started by another program (`setpriv …`) that makes way for it.
    #[must_use]
    pub fn launched_by(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The same with more time for each command.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Where the state is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A place for output that goes away with the state.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The home directory, which holds state and output.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command, ready to run. Nothing of the tester's own settings reaches it.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let kiln = binaries().path("kiln");
        let mut command = match self.launcher.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(kiln);
                command
            }
            None => Command::new(kiln),
        };
        command.args(&self.flags).args(arguments).current_dir(self.home.path());
        command
            .env_clear()
            .env("BUILDKIT_PROGRESS", "plain")
            .env("HOME", self.home.path())
            .env("PATH", SEARCH_PATH);
        command.env("RUST_BACKTRACE", "1");
        command
    }

    /// Runs a command.
    #[track_caller]
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        run(self.command(arguments), b"", self.limit)
    }

    /// A build that has yet to be told what and how.
    pub fn build(&self) -> Build<'_> {
        Build { kiln: self, arguments: vec!["build".into()], input: Vec::new() }
    }

    /// A build of the mockerfile of a project, by the frontend that is linked in.
    pub fn mockerfile(&self, project: &Project) -> Build<'_> {
        self.build().frontend("mockerfile.v0").of(project)
    }

    /// The records that `du` shows.
    ///
    /// # Panics
    ///
    /// If `du` fails or its output is not what it should be.
    #[track_caller]
    pub fn usage(&self) -> Vec<serde_json::Value> {
        let shown = self.run(&["du", "--format=json"]).succeeds();
        serde_json::from_slice(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}

/// As login shells of Debian have it; `newuidmap`, `runc` and mount helpers are found on it.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A build, as its flags add up.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    kiln: &'a Kiln,
    arguments: Vec<String>,
    input: Vec<u8>,
}

impl Build<'_> {
    /// Adds any flag.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.arguments.push(flag.into());
        self
    }

    /// Chooses the frontend.
    #[must_use]
    pub fn frontend(self, name: impl AsRef<Path>) -> Self {
        self.flag(format!("--frontend={}", name.as_ref().display()))
    }

    /// Adds an option of the frontend.
    #[must_use]
    pub fn opt(self, key: &str, value: &str) -> Self {
        self.flag(format!("--opt={key}={value}"))
    }

    /// Adds a local directory.
    #[must_use]
    pub fn local(self, name: &str, path: &Path) -> Self {
        self.flag(format!("--local={name}={}", path.display()))
    }

    /// Builds a project: it is the context, and has the build file.
    #[must_use]
    pub fn of(self, project: &Project) -> Self {
        self.local("context", project.path()).local("dockerfile", project.path())
    }

    /// Adds an output, such as `type=tar`, into a file.
    #[must_use]
    pub fn output(self, kind: &str, dest: &Path) -> Self {
        self.flag(format!("--output={kind},dest={}", dest.display()))
    }

    /// Gives it a definition on standard input.
    #[must_use]
    pub fn definition(mut self, definition: Vec<u8>) -> Self {
        self.input = definition;
        self
    }

    /// Runs it.
    #[track_caller]
    pub fn run(self) -> Outcome {
        run(self.kiln.command(&self.arguments), &self.input, self.kiln.limit)
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> Running {
        start(self.kiln.command(&self.arguments), &self.input)
    }

    /// Runs it, well, into an OCI archive with the tag `1`, and opens that.
    #[track_caller]
    pub fn image(self) -> (OciImage, Outcome) {
        let archive = tempfile::NamedTempFile::new().expect("failed to make a file");
        let outcome =
            self.output("type=oci,name=e2e.test/image:1", archive.path()).run().succeeds();
        (OciImage::open(archive.path()), outcome)
    }
}
