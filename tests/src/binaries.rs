//! The programs under test: built once, found beside the test executable.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::without_cargo;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

/// Packages that have the programs.
const PACKAGES: &[&str] =
    &["kiln-cli", "kiln-daemon", "kiln-mockerfile", "kiln-dockerfile", "kiln-examples"];

/// Builds the programs, the first time, and says where they are.
///
/// # Panics
///
/// If they do not compile.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let mut command = Command::new(env!("CARGO"));
        without_cargo(&mut command);
        command.arg("build").arg("--quiet").current_dir(env!("CARGO_MANIFEST_DIR"));
        for package in PACKAGES {
            command.args(["-p", package]);
        }
        // A released test binary tests released programs.
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let status = command.status().expect("failed to start cargo");
        assert!(status.success(), "the programs under test do not compile");
        Binaries { directory: directory() }
    })
}

/// `target/debug`, of whose `deps` this executable is.
fn directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the test executable has a path");
    let directory = executable.parent().and_then(Path::parent);
    directory.expect("the test executable lies in target/…/deps").to_owned()
}

impl Binaries {
    /// A program by its name.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        assert!(path.is_file(), "{} was not built", path.display());
        path
    }

    /// The frontend of mockerfiles, which is a plugin, and may be packed into an image.
    pub fn mockerfile(&self) -> PathBuf {
        self.path("kiln-frontend-mockerfile")
    }

    /// A directory under `target/` for what is expensive to make and lasts from run to run.
    pub fn cache(&self) -> PathBuf {
        let directory = self.directory.join("e2e-cache");
        std::fs::create_dir_all(&directory).expect("failed to make a directory under target");
        directory
    }
}
