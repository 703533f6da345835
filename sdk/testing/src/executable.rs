//! Any program that speaks the gateway protocol, as a [`Frontend`].
//!
//! Who wrote it, and in which language, does not matter: it gets the environment of a `gateway.v0`
//! frontend, a bridge on its standard streams and so much time. What it says on standard error is
//! shown with the error when it fails. The process, and what it started, is gone when the call ends
//! or is dropped.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kiln_frontend::Code;
use kiln_frontend::process::{self, Ended, FrontendProcess};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, lend};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How long a build of a frontend may take unless the caller says otherwise.
const LIMIT: Duration = Duration::from_secs(60);
/// Where programs find others; as in an image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Who builds, as the program is told.
const PRODUCT: &str = "kiln-testing";

/// A frontend in a program of its own. Every build starts it anew.
///
/// ```no_run
/// use kiln_testing::{Executable, Fixture};
///
/// let frontend = Executable::new("target/debug/my-language");
/// let fixture = Fixture::new().file("dockerfile", "my.yaml", "from: debian:13\n");
/// let built = fixture.build(&frontend)?;
/// # Ok::<(), kiln_frontend::FrontendError>(())
/// ```
#[derive(Debug)]
pub struct Executable {
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    limit: Duration,
    shuffle: bool,
    /// How many builds there were, which is what options are shuffled by.
    builds: AtomicU32,
}

impl Executable {
    /// The program at a path, without arguments.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self::command([program.as_ref().as_os_str()])
    }

    /// A whole command line, such as a wrapper that enters an image's root and then runs what is
    /// there. A program without a slash is looked up in [`Executable::environment`]'s `PATH`.
    pub fn command<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            command: words.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            environment: vec![("PATH".into(), PATH.into())],
            directory: "/".into(),
            limit: LIMIT,
            shuffle: false,
            builds: AtomicU32::new(0),
        }
    }

    /// Sets a variable of its environment, besides those that tell it the build. Nothing else is
    /// passed on but a `PATH` of the usual directories.
    #[must_use]
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Where it starts; `/` otherwise.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// How long one build may take; one minute otherwise.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Numbers the options differently in every build, which a frontend must not notice.
    #[must_use]
    pub fn shuffled(mut self) -> Self {
        self.shuffle = true;
        self
    }

    /// The command line, as people write it.
    pub fn name(&self) -> String {
        let words = self.command.iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }

    fn start(&self, bridge: &dyn Bridge) -> std::io::Result<Running> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program is named")
        })?;
        let build = self.builds.fetch_add(1, Ordering::Relaxed);
        let told = process::environment(bridge.info(), PRODUCT);
        let told = if self.shuffle { shuffled(told, build) } else { told };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(told)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        let child = command.spawn()?;
        Ok(Running { group: child.id(), child })
    }

    async fn call(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let name = format!("frontend {}", self.name());
        let failed = |error: &dyn std::fmt::Display| {
            FrontendError::new(Code::NotFound, format!("{name} cannot be started: {error}"))
        };
        let mut running = self.start(bridge).map_err(|error| failed(&error))?;
        let streams =
            (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(failed(&"it has no standard streams"));
        };
        let io = tokio::io::join(stdout, stdin);
        let process = FrontendProcess { name: name.clone(), io, stderr, ended: running.ended() };
        lend(bridge, |lent| process.converse(lent, Some(self.limit))).await
    }
}

#[async_trait]
impl Frontend for Executable {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        self.call(bridge).await
    }
}

/// The process, with everything it starts. Dropping it ends them all.
struct Running {
    child: Child,
    group: Option<u32>,
}

impl Running {
    /// Waits for the process and says how it ended.
    async fn ended(mut self) -> Ended {
        use std::os::unix::process::ExitStatusExt as _;
        match self.child.wait().await {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Ended::with_code(code),
                (None, Some(signal)) => Ended::badly(format!("was killed by signal {signal}")),
                (None, None) => Ended::badly("ended".to_owned()),
            },
            Err(error) => Ended::badly(format!("was lost ({error})")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.group.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            // Nobody is left of the group if everything went well.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// The same variables, with the numbers of the options dealt out differently for every `turn`.
fn shuffled(told: Vec<(String, String)>, turn: u32) -> Vec<(String, String)> {
    let is_option = |name: &str| name.starts_with("BUILDKIT_FRONTEND_OPT_");
    let (mut options, others): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|(name, _)| is_option(name));
    if turn % 2 == 1 {
        options.reverse();
    }
    if !options.is_empty() {
        let by = turn as usize / 2 % options.len();
        options.rotate_left(by);
    }
    let renumbered = options
        .into_iter()
        .enumerate()
        .map(|(number, (_, option))| (format!("BUILDKIT_FRONTEND_OPT_{number}"), option));
    renumbered.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_get_other_numbers_and_stay_the_same() {
        let told: Vec<(String, String)> = [
            ("BUILDKIT_FRONTEND_OPT_0", "a=1"),
            ("BUILDKIT_FRONTEND_OPT_1", "b=2"),
            ("BUILDKIT_FRONTEND_OPT_2", "c=3"),
            ("BUILDKIT_SESSION_ID", "s"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let values = |turn| -> Vec<String> {
            shuffled(told.clone(), turn).into_iter().map(|(_, value)| value).collect()
        };
        assert_eq!(values(0), ["a=1", "b=2", "c=3", "s"]);
        assert_eq!(values(1), ["c=3", "b=2", "a=1", "s"]);
        assert_eq!(values(2), ["b=2", "c=3", "a=1", "s"]);
        let mut sorted = values(5);
        sorted.sort();
        assert_eq!(sorted, ["a=1", "b=2", "c=3", "s"]);
    }
}
