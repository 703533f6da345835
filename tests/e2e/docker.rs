//! Docker takes what is exported for it.

use kiln_tests::{Dockerd, Kiln, archive};
use serde_json::Value;

use super::story::Story;

#[test]
fn docker_loads_the_image_and_finds_the_files_with_owner_and_mode() {
    let Some(story) = Story::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    let build = kiln.mockerfile(&story.project).output("type=docker,name=e2e.test/story:1", &out);
    build.run().succeeds();
    let loaded = docker.load(&out);
    assert!(loaded.text().contains("e2e.test/story:1"), "{loaded}");

    let inspected = docker.docker(&["image", "inspect", "e2e.test/story:1"], b"").succeeds();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let config = &inspected[0]["Config"];
    assert_eq!(config["User"], "builder");
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["Labels"]["team"], "e2e");

    let run = ["create", "--name=story", "e2e.test/story:1"];
    docker.docker(&run, b"").succeeds();
    let exported = kiln.path("exported.tar");
    let export = ["export", "--output", &exported.display().to_string(), "story"];
    docker.docker(&export, b"").succeeds();
    assert_eq!(archive::files(&exported)["srv/greeting"], b"hello from 0\n");
    let (owner, mode) = archive::owner_and_mode(&exported, "srv/said").unwrap();
    assert_eq!((owner, mode & 0o7777), (1000, 0o2640));
}
