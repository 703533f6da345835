//! Cases recorded on disk: a file, what a client and a daemon say, and the whole answer.
//!
//! `expected.json` is written by the test if it is not there. Read it before it is committed.

use std::path::Path;

use kiln_mockerfile::Mockerfile;
use kiln_testing::assert_replay;

fn replay(name: &str) {
    assert_replay(
        &Mockerfile,
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name),
    );
}

#[test]
fn each_platform_has_its_own_graph_and_the_config_of_its_base() {
    replay("two-platforms");
}

#[test]
fn all_mistakes_are_one_error_with_their_places() {
    replay("mistakes");
}

#[test]
fn downloads_are_installed_and_the_rest_is_dropped() {
    replay("downloads");
}
