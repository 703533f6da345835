//! `--load`: an image goes into Docker or Podman, whose own program takes it on its standard input.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::{Child, ChildStdin, Command};

use crate::environment::Environment;

/// Programs that take images, the first that is installed chosen.
const PROGRAMS: &[&str] = &["docker", "podman"];

/// A program that takes an image.
pub(super) struct Loader {
    program: PathBuf,
    child: Child,
}

impl Loader {
    /// Starts the program; it ends with this value, at the latest.
    ///
    /// # Errors
    ///
    /// If none is installed, or it cannot be started.
    pub(super) fn start(environment: &Environment) -> anyhow::Result<Self> {
        let Some(program) = find(environment) else {
            bail!(
                "--load needs docker or podman on the search path: --output type=docker,dest=FILE \
                 writes what they load, and --push pushes"
            );
        };
        let child = Command::new(&program)
            .args(["load", "--quiet"])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self { program, child })
    }

    /// Where the image goes; only once.
    pub(super) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until the image was taken.
    ///
    /// # Errors
    ///
    /// If it was not; the program has said why.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        let program = self.program.display();
        let status = self.child.wait().await;
        let status = status.with_context(|| format!("failed to wait for {program}"))?;
        if !status.success() {
            bail!("{program} load did not take the image: {status}");
        }
        Ok(())
    }
}

fn find(environment: &Environment) -> Option<PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(path).collect();
    let find = |name: &&str| {
        directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path))
    };
    PROGRAMS.iter().find_map(find)
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
