//! LLB on standard input, from programs that print it.

use std::process::Command;
use std::time::Duration;

use kiln_tests::{Kiln, Project, archive, binaries, run};

use super::story::Story;

fn printed(example: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(binaries().path(example));
    command.args(arguments);
    run(command, b"", Duration::from_secs(10)).succeeds().stdout
}

#[test]
fn a_definition_is_shown_as_json_one_op_a_line() {
    let definition = printed("hardcode-scratch", &[]);
    let kiln = Kiln::new();
    let shown = run(kiln.command(&["debug", "dump-llb"]), &definition, Duration::from_secs(10));
    let shown = shown.succeeds().text();
    let ops: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ops.len(), 3, "{shown}");
    assert!(ops.iter().all(|op| op["Digest"].as_str().unwrap().starts_with("sha256:")), "{shown}");
    let dot =
        run(kiln.command(&["debug", "dump-llb", "--dot"]), &definition, Duration::from_secs(10));
    assert!(dot.succeeds().text().starts_with("digraph {"));
}

#[test]
fn a_definition_without_a_system_packs_the_context() {
    let project =
        Project::new(&[("README.md", "read me\n"), ("sub/file", "more\n"), (".git/x", "")]);
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    let build = kiln.build().definition(printed("hardcode-scratch", &[]));
    build.local("context", project.path()).output("type=tar", &out).run().succeeds();
    let files = archive::files(&out);
    assert_eq!(files["pack/README.md"], b"read me\n");
    assert_eq!(files["pack/sub/file"], b"more\n");
    assert_eq!(files["pack/VERSION"], b"1.0.0\n");
    assert_eq!(files["VERSION"], b"-> pack/VERSION");
    assert!(files.keys().all(|path| !path.contains(".git")), "{files:?}");
}

#[test]
fn a_definition_with_a_system_runs_its_commands() {
    let Some(story) = Story::begin() else { return };
    let project = Project::new(&[("README.md", "one\ntwo\n")]);
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    let build = kiln.build().definition(printed("hardcode-image", &[&story.base]));
    build.local("context", project.path()).output("type=tar", &out).run().succeeds();
    let files = archive::files(&out);
    assert_eq!(files["app/file"], b"one\ntwo\n");
    let greeting = String::from_utf8_lossy(&files["app/greeting"]);
    assert!(greeting.starts_with("hello from LLB\n") && greeting.contains("2 file"), "{greeting}");
    assert!(files.contains_key("bin/busybox"));
}

#[test]
fn what_is_no_definition_is_refused() {
    let kiln = Kiln::new();
    let outcome = kiln.build().definition(b"this is not LLB".to_vec()).run();
    outcome.fails().says(&["definition"]);
    let outcome = kiln.build().definition(Vec::new()).run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
}
