//! `kiln frontend conform`: what is shipped passes as programs, over the real protocol, and what is
//! wrong is named.

use std::ffi::OsStr;
use std::path::Path;

use kiln_tests::{Kiln, Outcome, Project, binaries};

const MOCKERFILE: &str = "apiVersion: v1alpha1
images:
- name: app
  from: debian:13
  steps: [make, make install]
";
const DOCKERFILE: &str = "FROM debian:13 AS base\nRUN make\nFROM base AS app\nRUN make install\n";

fn conform(frontend: &Path, samples: &Path) -> Outcome {
    let words: [&OsStr; 4] =
        ["frontend".as_ref(), "conform".as_ref(), frontend.as_os_str(), samples.as_os_str()];
    Kiln::new().run(&words)
}

#[test]
fn the_shipped_languages_pass_as_programs() {
    let project = Project::new(&[("m/Mockerfile.yaml", MOCKERFILE), ("d/Dockerfile", DOCKERFILE)]);
    for (program, samples) in
        [(binaries().mockerfile(), "m"), (binaries().path("kiln-frontend-dockerfile"), "d")]
    {
        let told = conform(&program, &project.path().join(samples)).succeeds().text();
        for check in ["deterministic", "no-cache", "keeps-base-config", "platform", "source-maps"] {
            let passed = told.lines().any(|line| {
                line.split_whitespace().collect::<Vec<_>>().starts_with(&["pass", check])
            });
            assert!(passed, "{check}:\n{told}");
        }
    }
}

#[test]
fn a_program_that_is_no_frontend_fails_with_the_reason() {
    let project = Project::new(&[("Dockerfile", DOCKERFILE)]);
    let outcome = conform(Path::new("/bin/echo"), project.path()).fails();
    assert!(outcome.text().contains("FAIL  builds"), "{outcome}");
    assert!(outcome.text().contains("instead of HTTP/2"), "{outcome}");
}
