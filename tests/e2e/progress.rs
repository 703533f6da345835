//! What is shown while a build runs.

use std::time::Duration;

use kiln_tests::{Kiln, Project, Terminal};

use super::story::Story;

fn slow(story: &Story) -> Project {
    Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- {{name: demo, from: '{}', steps: ['echo mixing dough; sleep 1.5; echo baked']}}
",
        story.base
    ))
}

#[test]
fn a_terminal_shows_running_steps_with_their_time_and_their_last_lines() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let project = slow(&story);
    let path = |name| format!("--local={name}={}", project.path().display());
    let command = || {
        kiln.command(&[
            "build",
            "--progress=tty",
            "--frontend=mockerfile.v0",
            &path("context"),
            &path("dockerfile"),
        ])
    };
    let Terminal { status, screen } = Terminal::run(command(), Duration::from_secs(30));
    assert!(status.success(), "{screen}");
    let shows = |text: &str| assert!(screen.contains(text), "no {text:?} in {screen:?}");
    shows("[+] Building");
    shows("=> [demo 2/2] echo mixing dough; sleep 1.5; echo baked");
    // The log, under its step, while that runs.
    shows(" => => # mixing dough");
    shows("1.0s");
    shows("FINISHED");
    let again = Terminal::run(command(), Duration::from_secs(30));
    assert!(again.screen.contains("=> CACHED [demo 2/2]"), "{:?}", again.screen);
}

#[test]
fn plain_lines_are_those_that_scripts_read() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let project = slow(&story);
    let numbered = |text: &str, end: &str| {
        let line = text.lines().find(|line| line.ends_with(end));
        let line = line.unwrap_or_else(|| panic!("no line ends with {end:?}:\n{text}"));
        line.split(' ').next().unwrap().to_owned()
    };
    let first = kiln.mockerfile(&project).run().succeeds().stderr;
    let number = numbered(&first, " [demo 2/2] echo mixing dough; sleep 1.5; echo baked");
    let log = first.lines().filter_map(|line| line.strip_prefix(&format!("{number} ")));
    // The step is the first that looks into its base.
    let is_layer = |line: &&str| line.starts_with("sha256:") || line.starts_with("extracting ");
    let (layers, log): (Vec<&str>, Vec<&str>) = log.partition(is_layer);
    assert!(layers.iter().any(|line| line.ends_with("done")), "{first}");
    let [_name, dough, baked, done] = log[..] else { panic!("{log:?}") };
    assert!(dough.starts_with("0.") && dough.ends_with(" mixing dough"), "{dough}");
    assert!(baked.starts_with("1.") && baked.ends_with(" baked"), "{baked}");
    assert!(done.starts_with("DONE 1.") && done.ends_with('s'), "{done}");
    let second = kiln.mockerfile(&project).run().succeeds().stderr;
    let number = numbered(&second, " [demo 2/2] echo mixing dough; sleep 1.5; echo baked");
    assert!(second.contains(&format!("\n{number} CACHED\n")), "{second}");
}
