//! What is done again: nothing that need not be, across processes.

use std::time::{Duration, SystemTime};

use kiln_tests::{Kiln, Project};

use super::story::Story;

#[test]
fn a_second_run_in_another_process_does_nothing_again() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let (first, outcome) = kiln.mockerfile(&story.project).image();
    assert_eq!(outcome.worked().len(), 9, "{outcome}");
    let served = story.web.served();
    assert_eq!(served.len(), 4, "{served:?}");
    let (second, outcome) = kiln.mockerfile(&story.project).image();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    assert_eq!(second.digest, first.digest);
    assert_eq!(story.web.served(), served, "what did not change is not sent again");
}

/// Two images of which each reads one file, and draws a number.
fn readers(base: &str) -> Project {
    Project::new(&[
        ("a", "1\n"),
        ("b", "1\n"),
        (
            "Mockerfile.yaml",
            &format!(
                "apiVersion: v1alpha1
images:
- name: both
  from: {base}
  external:
  - {{src: a, dst: /in/a}}
  - {{src: b, dst: /in/b}}
  steps:
  - head -c 9 /dev/urandom > /drawn
"
            ),
        ),
    ])
}

#[test]
fn a_changed_file_reruns_only_what_reads_it_and_a_touched_one_nothing() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let project = readers(&story.base);
    kiln.mockerfile(&project).run().succeeds();

    let later = SystemTime::now() + Duration::from_secs(100);
    let file = std::fs::File::options().append(true).open(project.path().join("b")).unwrap();
    file.set_modified(later).unwrap();
    let outcome = kiln.mockerfile(&project).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");

    project.write("unread", "nobody reads this\n");
    let outcome = kiln.mockerfile(&project).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");

    project.write("b", "2\n");
    let outcome = kiln.mockerfile(&project).run().succeeds();
    let copies_and_step =
        ["[both 3/4] copy b to /in/b", "[both 4/4] head -c 9 /dev/urandom > /drawn"];
    assert_eq!(outcome.worked(), copies_and_step, "{outcome}");

    let outcome = kiln.mockerfile(&project).flag("--no-cache").run().succeeds();
    assert_eq!(outcome.worked().len(), 3, "{outcome}");
}

#[test]
fn pruned_state_is_empty_and_builds_again() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    kiln.mockerfile(&story.project).run().succeeds();
    assert!(kiln.usage().len() > 5);
    kiln.run(&["prune"]).succeeds();
    assert_eq!(kiln.usage(), Vec::<serde_json::Value>::new());
    let outcome = kiln.mockerfile(&story.project).run().succeeds();
    assert_eq!(outcome.worked().len(), 9, "{outcome}");
}
