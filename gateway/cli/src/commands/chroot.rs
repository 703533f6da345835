//! `chroot`: this process becomes a program in another root directory.
//!
//! The conformance kit starts the frontend of an image this way: it is there, and sees nothing else.

use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path};

use anyhow::{Context as _, anyhow};

use crate::args::ChrootArgs;

/// Returns only if it cannot be done.
pub(super) fn run(args: &ChrootArgs) -> anyhow::Result<()> {
    let ChrootArgs { root, directory, command } = args;
    let (program, arguments) = command.split_first().context("no program is named")?;
    rustix::process::chroot(root)
        .with_context(|| format!("failed to make {} the root, which takes root", root.display()))?;
    rustix::process::chdir("/").context("failed to enter the new root")?;
    let inside = directory.components().all(|part| part != Component::ParentDir);
    if inside && directory != Path::new("/") {
        rustix::process::chdir(Path::new("/").join(directory))
            .with_context(|| format!("failed to enter {}", directory.display()))?;
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(anyhow!(error).context(format!("failed to start {}", program.display())))
}
