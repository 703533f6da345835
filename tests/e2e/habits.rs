//! The command line as users of `docker build` type it, and what it says where they mistype.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use kiln_tests::{Kiln, OciImage, Project, run};
use rustix::process::Signal;

use super::crashes::{runs, until};
use super::story::Story;

const LIMIT: Duration = Duration::from_secs(30);

fn project() -> Project {
    Project::new(&[
        (
            "Dockerfile",
            "FROM scratch AS base\nARG WHO\nCOPY a /$WHO\nFROM base AS other\nCOPY a /other\n",
        ),
        ("a", "text\n"),
    ])
}

#[test]
fn the_flags_of_docker_build_do_what_they_do_there() {
    let (kiln, project) = (Kiln::new(), project());
    let directory = project.path().display().to_string();
    let archive = kiln.path("out.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let words = [
        "build",
        &directory,
        "--target",
        "base",
        "--build-arg",
        "WHO=you",
        "--label",
        "a=b",
        "--platform",
        "linux/arm64",
        "-t",
        "e2e.test/image:1",
        "-o",
        &output,
        "-q",
    ];
    let digest = kiln.run(&words).succeeds().text();
    assert!(digest.starts_with("sha256:"), "{digest}");
    let image = OciImage::open_for(&archive, "arm64");
    assert_eq!(image.run_config()["Labels"]["a"], "b");
    assert!(image.file("you").is_some() && image.file("other").is_none());

    // A name alone keeps the image, without a registry.
    let kept = kiln.run(&["build", &directory, "--tag", "e2e.test/kept:1"]).succeeds();
    assert!(kept.stderr.contains("naming to e2e.test/kept:1"), "{kept}");

    // Without an output, nothing is written, and that is said.
    let nothing = kiln.run(&["build", &directory]).succeeds();
    nothing.says(&["nothing was written", "--tag NAME", "--output DIRECTORY"]);
}

#[test]
fn a_prune_leaves_images_that_have_a_name() {
    let (kiln, project) = (Kiln::new(), project());
    let directory = project.path().display().to_string();
    kiln.run(&["build", &directory, "--tag", "localhost:1/kept:1"]).succeeds();
    let on_it = Project::new(&[("Dockerfile", "FROM localhost:1/kept:1\nCOPY b /\n"), ("b", "")]);
    let on_it_directory = on_it.path().display().to_string();
    kiln.run(&["prune"]).succeeds();
    let id_file = kiln.path("id");
    let id = ["--iidfile", id_file.to_str().unwrap(), "--tag", "localhost:1/other:1"];
    kiln.run(&[&["build", &on_it_directory], &id[..]].concat()).succeeds();
    assert!(fs::read_to_string(&id_file).unwrap().starts_with("sha256:"));
    kiln.run(&["prune", "--all"]).succeeds();
    let gone = kiln.run(&["build", "--no-cache", &on_it_directory]).fails();
    assert!(gone.stderr.contains("localhost:1"), "{gone}");
}

#[test]
fn build_files_come_from_standard_input() {
    let (kiln, project) = (Kiln::new(), project());
    let out = kiln.path("out");
    let output = format!("--output={}", out.display());
    let file = b"FROM scratch\nCOPY a /from-stdin\n".to_vec();
    let build = kiln.build().flag(project.path().display().to_string()).flag("--file=-");
    build.flag(&output).definition(file).run().succeeds();
    assert_eq!(fs::read_to_string(out.join("from-stdin")).unwrap(), "text\n");

    // Without a context, it is all there is.
    let file = b"FROM scratch\nCOPY <<EOF /alone\nyes\nEOF\n".to_vec();
    kiln.build().flag("-").flag(&output).definition(file).run().succeeds();
    assert_eq!(fs::read_to_string(out.join("alone")).unwrap(), "yes\n");
}

#[test]
fn an_image_is_loaded_by_the_program_that_takes_it() {
    let (kiln, project) = (Kiln::new(), project());
    let programs = Project::new(&[]);
    let taken = kiln.path("taken");
    let docker =
        programs.write("docker", format!("#!/bin/sh\necho \"$@\"; cat > {}", taken.display()));
    fs::set_permissions(docker, fs::Permissions::from_mode(0o755)).unwrap();
    let directory = project.path().display().to_string();
    let words = ["build", &directory, "--load", "--tag", "e2e.test/loaded:1"];
    let load = |path: &str| {
        let mut command = kiln.command(&words);
        command.env("PATH", path);
        run(command, b"", LIMIT)
    };
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    assert_eq!(load(&path).succeeds().text(), "load --quiet");
    let archive = fs::read(&taken).unwrap();
    let name = b"e2e.test/loaded:1";
    assert!(archive.windows(name.len()).any(|part| part == name));
    load("/nowhere").fails().says(&["--load needs docker or podman"]);
}

#[test]
fn what_is_mistyped_is_told_before_anything_is_built() {
    let (kiln, project) = (Kiln::new(), project());
    let directory = project.path().display().to_string();
    for (flags, said) in [
        (&["--opt", "tagret=base"][..], "did you mean target?"),
        (&["--platform", "linux/arm46"], "did you mean arm64?"),
        (&["--opt=platform=linux/arm46"], "did you mean arm64?"),
        (&["--output", "type=lcoal,dest=x"], "did you mean local?"),
        (&["--output", "type=image,nmae=x"], "did you mean `name`?"),
        (&["--output", "type=oci,dest=/no/where/x.tar"], "there is no directory /no/where"),
        (&["--frontend", "dokerfile.v0"], "did you mean `dockerfile.v0`?"),
        (&["--taget", "base"], "'--target'"),
    ] {
        let words = ["build", &directory].iter().chain(flags).copied().collect::<Vec<_>>();
        let outcome = kiln.run(&words).fails().says(&[said]);
        assert!(!outcome.stderr.contains("COPY a"), "{outcome}");
    }
    let target = kiln.run(&["build", &directory, "--target", "baes"]).fails();
    target.says(&["did you mean base?"]);
    // A file that cannot be written is named.
    let place = kiln.path("file");
    fs::write(&place, "").unwrap();
    let below = place.join("below");
    let output = format!("--output={}", below.display());
    kiln.run(&["build", &directory, &output]).fails().says(&[&below.display().to_string()]);
}

#[test]
fn a_mistake_in_a_file_is_shown_once() {
    let kiln = Kiln::new();
    let project =
        Project::mockerfile("apiVersion: v1alpha1\nimages:\n- name: demo\n  form: scratch\n");
    let outcome = kiln.mockerfile(&project).run().fails();
    assert_eq!(outcome.stderr.matches("form: scratch").count(), 1, "{outcome}");
    assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{outcome}");
}

#[test]
fn logs_outside_of_a_terminal_have_no_colours() {
    let kiln = Kiln::new().flag("--debug");
    let outcome = kiln.run(&["du"]).succeeds();
    assert!(outcome.stderr.contains("DEBUG") || outcome.stderr.contains("INFO"), "{outcome}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
}

#[test]
fn who_looks_on_while_a_build_runs_need_not_wait_and_ctrl_c_ends_it_politely() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let seconds = "7143.5";
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1\nimages:\n- {{name: demo, from: '{}', steps: ['echo waiting; sleep {seconds}']}}\n",
        story.base
    ));
    let mut running = kiln.mockerfile(&project).start();
    running.wait_for(" waiting\n", LIMIT);
    assert!(!kiln.usage().is_empty());
    let listed = kiln.run(&["history", "ls"]).succeeds();
    assert!(listed.text().contains("running"), "{listed}");
    // Nobody else can open the door.
    let mode = fs::metadata(kiln.root().join("kiln.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    running.signal(Signal::INT);
    let outcome = running.wait(Duration::from_secs(10));
    assert_eq!(outcome.status.code(), Some(130), "{outcome}");
    outcome.says(&["the build was canceled"]);
    until(|| !runs(seconds), "the step is left behind");
    assert!(!kiln.root().join("kiln.sock").exists());
}

#[test]
fn a_second_ctrl_c_ends_a_build_at_once() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    // The step would take three seconds to be killed, since it does not end when it is asked.
    let step = "trap \"\" TERM; echo stubborn; while true; do sleep 0.05; done";
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1\nimages:\n- name: demo\n  from: {}\n  steps:\n  - '{step}'\n",
        story.base
    ));
    let mut running = kiln.mockerfile(&project).start();
    running.wait_for(" stubborn\n", LIMIT);
    let asked = std::time::Instant::now();
    running.signal(Signal::INT);
    running.wait_for("another Ctrl-C", LIMIT);
    running.signal(Signal::INT);
    let outcome = running.wait(Duration::from_secs(10));
    assert!(asked.elapsed() < Duration::from_millis(2500), "{outcome}");
    assert_eq!(outcome.status.code(), Some(130), "{outcome}");
}
