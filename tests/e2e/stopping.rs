//! A daemon that is told to stop: what becomes of builds, steps and cache mounts.

use std::time::Duration;

use kiln_tests::{Build, Image, ImageConfig, Kiln, Kilnd, Outcome, Project, Registry, skip};
use rustix::process::Signal;

use super::crashes::{runs, until};

const SOON: Duration = Duration::from_secs(20);
/// What the client of a build that was cancelled is told.
const WHY: &str = "was cancelled: the daemon is shutting down";

/// A project whose last step is a shell script, on a small system.
fn script(registry: &Registry, line: &str) -> Project {
    let base = Image::busybox(ImageConfig::default()).push(registry, "base:1");
    let project = Project::new(&[]);
    project
        .write("Dockerfile", format!("FROM {base}\nRUN --mount=type=cache,target=/cache {line}\n"));
    project
}

fn dockerfile<'a>(kiln: &'a Kiln, project: &Project) -> Build<'a> {
    kiln.build().frontend("dockerfile.v0").of(project)
}

/// A number of seconds that nothing else on this machine sleeps for.
fn seconds(digits: &str) -> String {
    format!("{digits}{}", std::process::id())
}

#[track_caller]
fn says_why(outcome: Outcome) {
    let outcome = outcome.fails().says(&[WHY]);
    assert!(!outcome.stderr.contains("EOF"), "{outcome}");
}

#[test]
fn a_daemon_that_stops_lets_builds_end_and_takes_no_new_ones() {
    let Some(registry) = Registry::start() else { return };
    let project = script(&registry, "echo started; sleep 1.5; echo well > /done");
    let mut daemon = Kilnd::with(&["--stop-timeout=60s"]);
    let client = daemon.client();
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    daemon.signal(Signal::TERM);
    daemon.wait_for("waiting for running builds", SOON);
    let refused = dockerfile(&client, &project).run().fails();
    refused.says(&["the daemon is shutting down and takes no new builds"]);
    build.wait(SOON).succeeds();
    daemon.wait(SOON).succeeds();
}

#[test]
fn a_build_that_takes_too_long_is_cancelled_by_name_and_its_step_may_put_things_in_order() {
    let Some(registry) = Registry::start() else { return };
    let rest = seconds("611.");
    let line = format!(
        "trap 'sleep 0.3; echo saved > /cache/saved; exit 1' TERM; echo started; sleep {rest} & \
         while :; do sleep 0.02; done"
    );
    let daemon = Kilnd::with(&["--stop-timeout=200ms", "--step-stop-timeout=60s"]);
    let client = daemon.client();
    let project = script(&registry, &line);
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    daemon.signal(Signal::TERM);
    says_why(build.wait(SOON));
    // Another signal would stop it at once.
    let daemon = daemon.restarted_once_ended(SOON);
    assert!(!runs(&rest), "a process of the step is left");
    let line = "echo \"found $(cat /cache/saved)\"";
    let found = dockerfile(&daemon.client(), &script(&registry, line)).run().succeeds();
    found.says(&["found saved"]);
}

#[test]
fn a_second_signal_stops_at_once() {
    let Some(registry) = Registry::start() else { return };
    let rest = seconds("612.");
    let line =
        format!("trap 'echo no' TERM; echo started; sleep {rest} & while :; do sleep 0.02; done");
    let mut daemon = Kilnd::with(&["--stop-timeout=600s", "--step-stop-timeout=600s"]);
    let client = daemon.client();
    let project = script(&registry, &line);
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    daemon.signal(Signal::TERM);
    daemon.wait_for("waiting for running builds", SOON);
    daemon.signal(Signal::INT);
    let stopped = daemon.wait(SOON).fails();
    stopped.says(&["stopped at once; 1 builds were killed"]);
    says_why(build.wait(SOON));
    until(|| !runs(&rest), "a process of the step is left");
}

#[test]
fn a_step_that_does_not_end_is_killed_in_time_for_a_service_manager() {
    let Some(registry) = Registry::start() else { return };
    let rest = seconds("613.");
    let line =
        format!("trap 'echo no' TERM; echo started; sleep {rest} & while :; do sleep 0.02; done");
    let daemon = Kilnd::start();
    let client = daemon.client();
    let project = script(&registry, &line);
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    // As it is without any flag: within what service managers wait at least.
    daemon.stop().succeeds();
    says_why(build.wait(SOON));
    assert!(!runs(&rest), "a process of the step is left");
}

/// What the next step finds in a cache mount to which a step was writing when its client left.
fn found_after_an_interruption(registry: &Registry, flags: &[&str]) -> Outcome {
    let daemon = Kilnd::with(flags);
    let client = daemon.client();
    let line = "echo half > /cache/file; echo started; sleep 600";
    let project = script(registry, line);
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    build.signal(Signal::INT);
    build.wait(SOON).was_interrupted();
    let marked =
        || client.usage().iter().any(|record| record.to_string().contains("was interrupted"));
    until(marked, "the cache mount is not marked");
    let line = "echo started again; echo \"found $(ls /cache)\"";
    dockerfile(&client, &script(registry, line)).run().succeeds()
}

#[test]
fn a_cache_mount_of_a_step_that_was_killed_is_marked_and_treated_as_the_operator_says() {
    let Some(registry) = Registry::start() else { return };
    found_after_an_interruption(&registry, &["--interrupted-caches=discard"]).says(&["found \n"]);
    let daemon = Kilnd::start();
    let client = daemon.client();
    let line = "echo half > /cache/file; echo started; sleep 600";
    let project = script(&registry, line);
    let mut build = dockerfile(&client, &project).start();
    build.wait_for(" started\n", SOON);
    // Killed with everything, without a chance to note anything.
    let daemon = daemon.killed_and_restarted();
    build.wait(SOON).fails();
    let client = daemon.client();
    client.run(&["debug", "workers"]).succeeds();
    assert!(client.usage().iter().any(|record| record.to_string().contains("was interrupted")));
    let line = "echo \"found $(ls /cache)\"";
    let kept = dockerfile(&client, &script(&registry, line)).run().succeeds();
    kept.says(&["found file\n"]);
}

#[test]
fn a_build_that_its_user_interrupts_leaves_nothing() {
    let Some(registry) = Registry::start() else { return };
    let rest = seconds("614.");
    let line = format!(
        "trap 'echo saved > /cache/saved; exit 1' TERM; echo started; sleep {rest} & while :; do sleep 0.02; done"
    );
    let kiln = Kiln::new();
    let project = script(&registry, &line);
    let mut build = dockerfile(&kiln, &project).start();
    build.wait_for(" started\n", SOON);
    build.signal(Signal::INT);
    build.wait(SOON).was_interrupted().says(&["the build was canceled"]);
    assert!(!runs(&rest), "a process of the step is left");
    let line = "echo \"found $(cat /cache/saved)\"";
    dockerfile(&kiln, &script(&registry, line)).run().succeeds().says(&["found saved"]);
}

#[test]
fn debugging_logs_kilns_own_events() {
    let Some(registry) = Registry::start() else { return };
    let daemon = Kilnd::with(&["--debug"]);
    if !kiln_tests::is_root() {
        skip("root");
        return;
    }
    dockerfile(&daemon.client(), &script(&registry, "true")).run().succeeds();
    let log = daemon.log();
    assert!(!log.contains("h2::") && !log.contains("hyper"), "{log}");
    assert!(log.len() < 64 << 10, "{} bytes", log.len());
}
