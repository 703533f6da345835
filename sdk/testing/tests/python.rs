//! A build language in another programming language: the example in Python passes the kit.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use kiln_testing::{ConformOptions, Executable, Samples, Verdict, conform};

fn plugin() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/python-plugin");
    here.canonicalize().unwrap()
}

/// Says why the test cannot be made, if it cannot.
fn is_skipped() -> bool {
    let mut python = Command::new("/usr/bin/python3");
    let there = python.args(["-c", "import h2"]).output().is_ok_and(|out| out.status.success());
    if !there {
        writeln!(std::io::stderr(), "skipped: needs Debian's python3-h2").ok();
    }
    !there
}

#[tokio::test]
async fn the_plugin_in_python_passes_every_check() {
    if is_skipped() {
        return;
    }
    let samples = Samples::load(plugin().join("conform")).unwrap();
    let frontend = Executable::new(plugin().join("kiln-frontend-steps")).shuffled();
    let report = conform(&frontend, &samples, &ConformOptions::default()).await;
    let all = report.checks.iter().all(|outcome| outcome.verdict == Verdict::Pass);
    assert!(all, "{report}");
}

#[tokio::test]
async fn one_file_is_enough_to_start_with() {
    if is_skipped() {
        return;
    }
    let samples = Samples::load(plugin().join("conform/sample/build.steps")).unwrap();
    let frontend = Executable::new(plugin().join("kiln-frontend-steps"));
    let report = conform(&frontend, &samples, &ConformOptions::default()).await;
    assert!(report.passed(), "{report}");
}
