//! The cargo project of a frontend: found, built, tested.
//!
//! A directory comes in, the path of a fresh executable goes out. Cargo's own messages go to standard
//! error; a cargo whose owner is dropped ends with everything it started.

mod cargo;
mod metadata;
#[cfg(test)]
mod tests;

pub(crate) use cargo::{Build, Cargo, CargoError};
pub(crate) use metadata::{Package, ProjectError};

use std::path::{Path, PathBuf};

/// A project whose packages are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// Where its `Cargo.toml` is.
    pub directory: PathBuf,
    /// The package that has the frontend.
    pub package: Package,
    /// The program of the package that is the frontend.
    pub program: String,
    /// Directories outside of which no file takes part in a build: the packages on this machine.
    pub sources: Vec<PathBuf>,
}

impl Project {
    /// Finds the project around `start`, and in it the program `bin` or the one that must be meant.
    ///
    /// # Errors
    ///
    /// If there is no project, cargo cannot read it, or it has no program or several.
    pub(crate) async fn find(
        cargo: &Cargo,
        start: &Path,
        bin: Option<&str>,
    ) -> Result<Self, ProjectError> {
        let directory = around(start).ok_or_else(|| ProjectError::None(start.to_owned()))?;
        let metadata = cargo.metadata(&directory).await?;
        metadata::choose(&metadata, &directory, bin)
    }
}

/// The nearest directory with a `Cargo.toml`, from `start` upwards.
fn around(start: &Path) -> Option<PathBuf> {
    let start = std::path::absolute(start).ok()?;
    start.ancestors().find(|place| place.join("Cargo.toml").is_file()).map(Path::to_owned)
}
