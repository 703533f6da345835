//! What the machine has, and saying so where a test wants more.

use std::io::Write as _;
use std::path::Path;

use crate::kiln::SEARCH_PATH;

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
    SEARCH_PATH.split(':').any(|directory| Path::new(directory).join(name).is_file())
}
