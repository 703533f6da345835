//! The conformance kit, put to the test: what conforms passes, and each planted fault is found.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::language::{FAULTS, Fault, Faulty};
use kiln_dockerfile::Dockerfile;
use kiln_mockerfile::Mockerfile;
use kiln_testing::{ConformOptions, Executable, Report, Samples, Verdict, conform};

const MOCKERFILE: &str = "apiVersion: v1alpha1
images:
- name: build
  from: debian:13
  steps:
  - make
  - make install
- name: app
  from: build
  env: {A: b}
  steps: [make check]
";

const LINES: &str = "from debian:13\narg KILN_CONFORM\nrun make\nrun make install\n";

fn lines() -> Samples {
    Samples::text("lines", LINES).with_build_argument("KILN_CONFORM", "1")
}

fn terms() -> ConformOptions {
    ConformOptions { limit: Duration::from_secs(2), quick: Duration::from_millis(400), repeats: 3 }
}

fn failed(report: &Report) -> Vec<&'static str> {
    report.failed().map(|outcome| outcome.check).collect()
}

#[tokio::test]
async fn the_shipped_mockerfile_conforms() {
    let samples = Samples::text("Mockerfile.yaml", MOCKERFILE)
        .with_broken("apiVersion: v1alpha1\nimages:\n- name: app\n  form: debian:13\n");
    let report = conform(&Mockerfile, &samples, &ConformOptions::default()).await;
    assert!(report.passed(), "{report}");
}

/// A language that others have defined, and that is like theirs byte for byte.
#[tokio::test]
async fn the_shipped_dockerfile_conforms() {
    let text = "FROM debian:13 AS base\nRUN make\nFROM base AS app\nCOPY a.txt /a\n\
        RUN --mount=type=cache,target=/c make install\n";
    let samples = Samples::text("Dockerfile", text)
        .with_file("a.txt", "a")
        .with_broken("FROM debian:13\nCOPY onlyone\n");
    let report = conform(&Dockerfile::mainline(), &samples, &ConformOptions::default()).await;
    assert!(report.passed(), "{report}");
    let noted = report.checks.iter().filter(|outcome| outcome.verdict == Verdict::Advice);
    let noted: Vec<_> = noted.map(|outcome| outcome.check).collect();
    assert_eq!(noted, ["keeps-unknown-config"], "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_frontend_without_faults_passes_every_check() {
    let report = conform(&Faulty(Fault::None), &lines(), &terms()).await;
    let all = report.checks.iter().all(|outcome| outcome.verdict == Verdict::Pass);
    assert!(all, "{report}");
}

#[tokio::test(start_paused = true)]
async fn each_planted_fault_is_found_and_named() {
    for (fault, name, check) in FAULTS {
        let report = conform(&Faulty(*fault), &lines(), &terms()).await;
        let outcome = report.check(check).unwrap();
        // BuildKit's own frontend has this fault.
        let expected = match fault {
            Fault::LosesUnknownConfig => Verdict::Advice,
            _ => Verdict::Fail,
        };
        assert_eq!(outcome.verdict, expected, "{name}:\n{report}");
        assert!(!outcome.detail.is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_not_blamed_on_other_things() {
    // These faults show in one place only.
    let alone = [
        Fault::NotCanonical,
        Fault::LosesBaseConfig,
        Fault::NoSourceMaps,
        Fault::NoCacheForAll,
        Fault::IgnoresArguments,
        Fault::IgnoresLabels,
        Fault::IgnoresTargets,
        Fault::IgnoresPull,
        Fault::IgnoresEpoch,
        Fault::UsesUnknownOptions,
        Fault::UnplacedErrors,
        Fault::ForgetsFileName,
        Fault::NoDescribe,
        Fault::BuildsForAnyRequest,
        Fault::AlwaysMerges,
        Fault::PasswordsInEnvironment,
        Fault::SessionInCommands,
        Fault::Slow,
    ];
    for fault in alone {
        let (_, name, check) = FAULTS.iter().find(|(known, _, _)| *known == fault).unwrap();
        let report = conform(&Faulty(fault), &lines(), &terms()).await;
        assert_eq!(failed(&report), [*check], "{name}:\n{report}");
    }
}

/// The example of this crate, which cargo builds beside its tests unless it is told what to build.
fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        let here = std::env::current_exe().unwrap();
        let program = here.ancestors().nth(2).unwrap().join("examples/faulty");
        if !program.exists() {
            let mut cargo = std::process::Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package=kiln-testing", "--example=faulty"]);
            assert!(cargo.status().unwrap().success());
        }
        program
    });
    program.clone()
}

fn faulty(fault: &str) -> Executable {
    Executable::command([program().as_os_str(), fault.as_ref()]).shuffled()
}

#[tokio::test]
async fn a_program_conforms_over_the_real_protocol() {
    let report = conform(&faulty("none"), &lines(), &ConformOptions::default()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn faults_of_a_program_are_found_over_the_real_protocol() {
    let terms = ConformOptions { limit: Duration::from_secs(3), ..ConformOptions::default() };
    let faults = [
        ("random", "deterministic"),
        ("ignores-no-cache", "no-cache"),
        ("loses-base-config", "keeps-base-config"),
        ("ignores-platform", "platform"),
        ("no-source-maps", "source-maps"),
        ("hangs", "survives-anything"),
    ];
    // Most of the time goes into waiting for programs that do not answer.
    let found = faults.map(async |(name, check)| {
        let report = conform(&faulty(name), &lines(), &terms).await;
        assert!(failed(&report).contains(&check), "{name}:\n{report}");
    });
    futures::future::join_all(found).await;
}

#[tokio::test]
async fn a_program_that_is_no_frontend_is_told_what_it_does_wrong() {
    for (fault, expected) in [
        (
            "shouts",
            &["its standard output starts with \"hello, this is my fronte\" instead of HTTP/2"][..],
        ),
        (
            "exits",
            &["ended with exit code 3 before it returned a result", "it said:\nno luck today"],
        ),
        (
            "sleeps",
            &["did not return a result within 0.5 s", "wrote nothing to its standard output"],
        ),
    ] {
        let program = faulty(fault).limit(Duration::from_millis(500));
        let report = conform(&program, &lines(), &ConformOptions::default()).await;
        let builds = report.check("builds").unwrap();
        for expected in expected {
            assert!(builds.detail.contains(expected), "{fault}: {}", builds.detail);
        }
        assert_eq!(builds.verdict, Verdict::Fail);
    }
    let nobody = Executable::new("/no/such/frontend");
    let report = conform(&nobody, &lines(), &ConformOptions::default()).await;
    let detail = &report.check("builds").unwrap().detail;
    assert!(detail.contains("frontend /no/such/frontend cannot be started"), "{detail}");
}
