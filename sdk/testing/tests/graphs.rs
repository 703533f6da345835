//! What this crate makes of finished graphs, told with small ones.

mod determinism;
mod difference;
mod hostile;
mod lint;
mod simulate;
mod svg;
mod text;

use kiln_llb::{Constraints, Definition, Exec, Marshal, SourceMap, SourceRange, State};
use kiln_oci::Platform;

fn marshal(state: &State) -> Definition {
    state.marshal(&Marshal::on(Platform::new("linux", "amd64"))).unwrap()
}

/// A command for the shell.
fn sh(line: &str) -> Exec {
    Exec::sh(line)
}

/// A command with a name and a place in a file.
fn named(line: &str, name: &str, at: u32) -> Exec {
    let map = SourceMap::new("mockerfile.yaml", "Mockerfile", "one\ntwo\nthree\nfour\nfive\n");
    let constraints =
        Constraints::named(name).with_locations(vec![map.location([SourceRange::lines(at, at)])]);
    Exec::sh(line).with_constraints(constraints)
}
