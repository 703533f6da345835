//! `kilnd` and its clients.

use std::thread;
use std::time::Duration;

use kiln_tests::{Kiln, Kilnd, Project};

use super::story::Story;

#[test]
fn a_daemon_on_a_socket_builds_as_the_embedded_one_does() {
    let Some(story) = Story::begin() else { return };
    let daemon = Kilnd::start();
    let client = daemon.client();
    let (image, outcome) = client.mockerfile(&story.project).image();
    assert_eq!(image.file("srv/said").unwrap().content, "tool\nkubectl\n");
    assert_eq!(outcome.worked().len(), 9, "{outcome}");
    let (again, outcome) = client.mockerfile(&story.project).image();
    assert_eq!(again.digest, image.digest);
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    assert!(client.usage().len() > 5);
    client.run(&["debug", "info"]).succeeds();
    client.run(&["debug", "workers"]).succeeds();
    let entries = std::fs::read_dir(daemon.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let databases: Vec<_> = names.filter(|name| name.contains(".redb")).collect();
    assert_eq!(databases, ["metadata.redb"]);
    let stopped = daemon.stop();
    assert!(stopped.status.success(), "{stopped}");
}

#[test]
fn builds_at_the_same_time_do_what_they_share_once() {
    let Some(story) = Story::begin() else { return };
    let project = |last: &str| {
        Project::mockerfile(&format!(
            "apiVersion: v1alpha1
images:
- name: shared
  from: {}
  steps: ['echo started; sleep 2; head -c 8 /dev/urandom | sha256sum > /drawn']
- name: own
  from: shared
  steps: ['echo {last} > /own']
",
            story.base
        ))
    };
    let daemon = Kilnd::start();
    let (one, two) = (project("one"), project("two"));
    let client = daemon.client();
    let mut first = client.mockerfile(&one).output("type=tar", &client.path("one.tar")).start();
    first.wait_for(" started\n", Duration::from_secs(20));
    let second = client.mockerfile(&two).output("type=tar", &client.path("two.tar")).start();
    first.wait(Duration::from_secs(20)).succeeds();
    second.wait(Duration::from_secs(20)).succeeds();
    let drawn = |name: &str| kiln_tests::archive::files(&client.path(name))["drawn"].clone();
    assert_eq!(drawn("one.tar"), drawn("two.tar"));
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_other_that_shares_its_step() {
    let Some(story) = Story::begin() else { return };
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- {{name: demo, from: '{}', steps: ['echo started; sleep 2; echo well > /done']}}
",
        story.base
    ));
    let daemon = Kilnd::start();
    let client = daemon.client();
    let mut first = client.mockerfile(&project).start();
    first.wait_for(" started\n", Duration::from_secs(20));
    let mut second = client.mockerfile(&project).start();
    second.wait_for("[demo 2/2]", Duration::from_secs(20));
    thread::sleep(Duration::from_millis(100));
    first.kill();
    second.wait(Duration::from_secs(20)).succeeds();
    let outcome = client.mockerfile(&project).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
}

#[test]
fn two_processes_on_one_state_take_turns() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- {{name: demo, from: '{}', steps: ['echo started; sleep 1; head -c 8 /dev/urandom > /drawn']}}
",
        story.base
    ));
    let mut first = kiln.mockerfile(&project).start();
    first.wait_for(" started\n", Duration::from_secs(20));
    let second = kiln.mockerfile(&project).start();
    first.wait(Duration::from_secs(20)).succeeds();
    let second = second.wait(Duration::from_secs(20)).succeeds();
    assert_eq!(second.worked(), [""; 0], "{second}");
}

#[test]
fn a_daemon_that_was_killed_is_followed_by_one_that_knows_what_it_knew() {
    let Some(story) = Story::begin() else { return };
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- name: demo
  from: {}
  steps: ['echo before > /before', 'sleep 0.5; echo started; sleep 1.75; echo after > /after']
",
        story.base
    ));
    let daemon = Kilnd::start();
    let mut build = daemon.client().mockerfile(&project).start();
    build.wait_for(" started\n", Duration::from_secs(20));
    let daemon = daemon.killed_and_restarted();
    build.wait(Duration::from_secs(20)).fails();
    super::crashes::until(|| !super::crashes::runs("1.75"), "the step is left behind");
    let (image, outcome) = daemon.client().mockerfile(&project).image();
    assert_eq!(outcome.worked().len(), 1, "{outcome}");
    assert_eq!(image.file("after").unwrap().content, "after\n");
}
