//! Support for the tests of whole builds: programs, servers, fixtures.
//!
//! Tests name what they need (a registry, a base image, a project) and get it on a free port or in
//! a directory that goes away with it. Kiln is only ever run as its users run it: the binaries are
//! started as processes, no room is imported. Begin with [`Kiln`].

pub mod archive;
mod binaries;
mod command;
mod debian;
mod dockerd;
mod image;
mod kiln;
mod kilnd;
mod layout;
mod project;
mod registry;
mod steps;
mod terminal;
mod web;

pub use binaries::{Binaries, binaries};
pub use command::{Outcome, Running, run, start};
pub use debian::{Debian, debian_mirror_is_reachable};
pub use dockerd::Dockerd;
pub use image::{Image, ImageConfig, sha256};
pub use kiln::{Build, Kiln};
pub use kilnd::Kilnd;
pub use layout::{ImageFile, OciImage};
pub use project::Project;
pub use registry::Registry;
pub use steps::Step;
pub use terminal::Terminal;
pub use web::WebServer;

use std::io::Write as _;
use std::path::Path;

/// Says that this test does not run, even where the output of passing tests is hidden.
pub fn skip(needs: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "{test}: skipped: needs {needs}").ok();
}

/// Whether this is root, as builds on overlay file systems and mounts of a test need.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program is installed where Debian installs programs.
pub fn has_program(name: &str) -> bool {
    kiln::SEARCH_PATH.split(':').any(|directory| Path::new(directory).join(name).is_file())
}
