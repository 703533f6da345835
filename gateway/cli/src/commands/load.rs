//! `--load`: an image goes into Docker or Podman, whose own program takes it on its standard input.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kiln_executor::programs_called;
use tokio::process::{ChildStdin, Command};
use tokio_util::task::AbortOnDropHandle;

use crate::environment::Environment;
use crate::progress::one_line;

/// Programs that take images, the first that is installed chosen.
const PROGRAMS: &[&str] = &["docker", "podman"];

/// How long a program may take to say whether its daemon answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that takes an image.
pub(super) struct Loader {
    program: PathBuf,
    input: Option<ChildStdin>,
    /// What the program said, once it has ended.
    ended: AbortOnDropHandle<io::Result<Output>>,
}

impl Loader {
    /// Starts the first program that is installed and works; it ends with this value, at the latest.
    ///
    /// # Errors
    ///
    /// If there is none, with what each says, or it cannot be started.
    pub(super) async fn start(environment: &Environment) -> anyhow::Result<Self> {
        let mut refusals = String::new();
        let mut chosen = None;
        for program in find(environment) {
            match answers(&program).await {
                Ok(()) => {
                    chosen = Some(program);
                    break;
                }
                Err(reason) => refusals += &format!("\n  {}: {reason}", program.display()),
            }
        }
        let Some(program) = chosen else {
            bail!(
                "--load needs docker or podman, which work: --output type=docker,dest=FILE writes what \
                 they load, and --push pushes{refusals}"
            );
        };
        let mut child = Command::new(&program)
            .args(["load", "--quiet"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let input = child.stdin.take();
        let ended = AbortOnDropHandle::new(tokio::spawn(child.wait_with_output()));
        Ok(Self { program, input, ended })
    }

    /// Where the image goes; only once.
    pub(super) fn input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Waits until the image was taken.
    ///
    /// # Errors
    ///
    /// If it was not, with what the program says.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        let program = self.program.display();
        let ended = self.ended.await?.with_context(|| format!("failed to wait for {program}"))?;
        if !ended.status.success() {
            let reason = last_line(&ended.stderr).unwrap_or_else(|| ended.status.to_string());
            bail!("{program} load did not take the image: {reason}");
        }
        Ok(())
    }

    /// Why a build has failed: because of the program, if that has ended before.
    pub(super) async fn instead_of(self, error: anyhow::Error) -> anyhow::Error {
        match self.ended.is_finished() {
            true => self.finish().await.err().unwrap_or(error),
            false => error,
        }
    }
}

/// Asks a program for what needs its daemon; Podman has none, and answers for itself.
async fn answers(program: &Path) -> Result<(), String> {
    let mut asked = Command::new(program);
    asked.arg("version").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, asked.output()).await {
        Ok(Ok(answer)) if answer.status.success() => Ok(()),
        Ok(Ok(answer)) => {
            Err(last_line(&answer.stderr).unwrap_or_else(|| answer.status.to_string()))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
    }
}

/// The last line that says something, as it may be shown.
fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(one_line)
}

/// The programs that are installed, the first by name first.
fn find(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    PROGRAMS.iter().filter_map(move |name| programs_called(Path::new(name), path).next())
}
