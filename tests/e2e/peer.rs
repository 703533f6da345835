//! The frontends as images, on the BuildKit inside Docker's daemon and on Kiln: the same files, the
//! same config.

use std::collections::BTreeMap;

use kiln_tests::{Dockerd, Kiln, archive};
use serde_json::Value;

use super::frontends::pack;
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

#[test]
fn a_mockerfile_becomes_the_same_on_dockers_buildkit() {
    let Some(story) = Story::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let kiln = Kiln::new();
    let image = pack(&kiln, &story.registry);
    let text = std::fs::read_to_string(story.project.path().join("Mockerfile.yaml")).unwrap();
    story.project.write("Mockerfile.yaml", format!("# syntax={image}\n{text}"));

    let theirs = kiln.path("theirs.tar");
    let file = story.project.path().join("Mockerfile.yaml").display().to_string();
    let output = format!("type=tar,dest={}", theirs.display());
    docker.build(&["--file", &file, "--output", &output], story.project.path()).succeeds();
    docker.build(&["--file", &file, "--tag", "story:1"], story.project.path()).succeeds();
    let inspected = docker.docker(&["image", "inspect", "story:1"], b"").succeeds();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();

    let build = || {
        let build = kiln.build().of(&story.project).frontend("gateway.v0").opt("source", &image);
        build.opt("filename", "Mockerfile.yaml").opt("force-network-mode", "none")
    };
    let ours = kiln.path("ours.tar");
    build().output("type=tar", &ours).run().succeeds();
    assert_eq!(archive::differences(&ours, &theirs), [""; 0]);
    let (built, _) = build().image();
    assert_eq!(run_config(built.run_config()), run_config(&inspected[0]["Config"]));
}
