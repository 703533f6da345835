//! Running cargo from a test that cargo runs.

use std::process::Command;

/// Variables by which cargo tells a program which package it belongs to.
const OF_A_PACKAGE: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Makes a command forget that a test started it.
///
/// Build scripts read these variables too: were they passed on, crates that have not changed would
/// be compiled again inside of tests, and once more after them.
pub fn without_cargo(command: &mut Command) {
    let of_a_package = |name: &str| OF_A_PACKAGE.iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_a_package) {
            command.env_remove(name);
        }
    }
}
