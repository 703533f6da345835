//! The frontends as images, on the BuildKit inside Docker's daemon and on Kiln: the same files, the
//! same config.

use std::collections::BTreeMap;

use kiln_tests::{Dockerd, Kiln, Project, archive};
use serde_json::Value;

use super::frontends::{pack, pack_program};
use super::languages;
use super::story::Story;

/// What a config says of how the image is run, without what is empty.
pub(super) fn run_config(config: &Value) -> BTreeMap<String, Value> {
    let known = ["Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts"];
    let all = config.as_object().expect("a config").iter();
    let told = all.filter(|(key, value)| {
        known.contains(&key.as_str()) && !value.is_null() && value.as_str() != Some("")
    });
    told.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Builds a file of the project with a frontend's image on both, and holds the results against each
/// other.
fn same_on_both(kiln: &Kiln, docker: &Dockerd, project: &Project, name: &str, image: &str) {
    let file = project.path().join(name).display().to_string();
    let text = std::fs::read_to_string(&file).unwrap();
    let named = match name.ends_with(".json") {
        true => text.replacen('{', &format!("{{\"syntax\": \"{image}\", "), 1),
        false => format!("# syntax={image}\n{text}"),
    };
    project.write(name, named);

    let theirs = kiln.path("theirs.tar");
    let output = format!("type=tar,dest={}", theirs.display());
    docker.build(&["--file", &file, "--output", &output], project.path()).succeeds();
    docker.build(&["--file", &file, "--tag", "both:1"], project.path()).succeeds();
    let inspected = docker.docker(&["image", "inspect", "both:1"], b"").succeeds();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();

    let build = || {
        let build = kiln.build().of(project).frontend("gateway.v0").opt("source", image);
        build.opt("filename", name).opt("force-network-mode", "none")
    };
    let ours = kiln.path("ours.tar");
    build().output("type=tar", &ours).run().succeeds();
    assert_eq!(archive::differences(&ours, &theirs), [""; 0]);
    let (built, _) = build().image();
    assert_eq!(run_config(built.run_config()), run_config(&inspected[0]["Config"]));
}

#[test]
fn a_mockerfile_becomes_the_same_on_dockers_buildkit() {
    let Some(story) = Story::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let kiln = Kiln::new();
    let image = pack(&kiln, &story.registry);
    same_on_both(&kiln, &docker, &story.project, "Mockerfile.yaml", &image);
}

#[test]
fn files_of_the_example_languages_become_the_same_on_dockers_buildkit() {
    let Some(story) = Story::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let kiln = Kiln::new();
    let image = pack_program(&kiln, &story.registry, "kiln-frontend-tiny");
    let text = "copy: {/srv/notes: notes}\nrun:\n- cat notes/one > /tmp/one || true\n- id -u\nentrypoint: [/bin/sh]\n";
    story.project.write("tiny.yaml", format!("from: {}\n{text}", story.base));
    same_on_both(&kiln, &docker, &story.project, "tiny.yaml", &image);
    let project = languages::project(&story.registry);
    // Which Docker's BuildKit cannot make, and is not asked to.
    let text = std::fs::read_to_string(project.path().join("image.yaml")).unwrap();
    let lines = text.lines().filter(|line| !line.contains("type: symlink"));
    project.write("image.yaml", lines.collect::<Vec<_>>().join("\n"));
    // Which looks for a frontend's name in comments alone; a plan is JSON and has none.
    let [hardened, _] = &languages::EXAMPLES;
    let image = pack_program(&kiln, &story.registry, hardened.program);
    same_on_both(&kiln, &docker, &project, hardened.file, &image);
}
