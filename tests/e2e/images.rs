//! A mockerfile becomes an image that other programs accept, with everything where it belongs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use kiln_tests::{ImageFile, Kiln, Project, has_program, is_root, skip};
use serde_json::json;

use super::story::{Story, owner};

fn file(mode: u32, owner: u64, content: &str) -> Option<ImageFile> {
    Some(ImageFile { mode, owner: (owner, owner), content: content.to_owned() })
}

#[test]
fn an_image_has_its_downloads_files_and_results_with_owner_and_mode() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let (image, _) = kiln.mockerfile(&story.project).image();
    let (program, tool) = ("#!/bin/sh\necho kubectl\n", "#!/bin/sh\necho tool\n");
    let expected = [
        ("usr/local/bin/kubectl", file(0o755, 0, program)),
        ("usr/local/bin/kustomize/kustomize", file(0o755, 0, tool)),
        ("usr/local/bin/helm", file(0o755, 0, tool)),
        ("tmp/sdk/install.sh", file(0o750, 1000, tool)),
        ("tmp/sdk/run", file(0o777, 0, "install.sh")),
        ("srv/notes/one", file(0o644, 0, "first\n")),
        ("srv/greeting", file(0o644, 0, "hello from 0\n")),
        ("srv/said", file(0o2640, owner(), "tool\nkubectl\n")),
        ("etc/hostname", None),
    ];
    for (path, file) in expected {
        assert_eq!(image.file(path), file, "{path}");
    }
}

#[test]
fn the_config_is_the_bases_with_the_files_on_top() {
    let Some(story) = Story::begin() else { return };
    let (image, _) = Kiln::new().mockerfile(&story.project).opt("label:added", "1").image();
    let config = image.run_config();
    assert_eq!(config["Env"], json!(["PATH=/usr/local/bin:/bin", "BASE=yes", "GREETING=hello"]));
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-l"]));
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["User"], "builder");
    assert_eq!(config["Labels"], json!({"vendor": "tests", "team": "e2e", "added": "1"}));
}

#[test]
fn skopeo_and_umoci_accept_the_archive() {
    let Some(story) = Story::begin() else { return };
    if !is_root() || !has_program("umoci") {
        return skip("root and umoci");
    }
    let (image, _) = Kiln::new().mockerfile(&story.project).image();
    let inspected = image.skopeo_inspect();
    assert_eq!(inspected["Digest"], image.digest.as_str());
    assert_eq!(inspected["Labels"]["team"], "e2e");
    let root = image.umoci_unpack("1");
    let said = fs::metadata(root.join("srv/said")).unwrap();
    assert_eq!((said.uid(), said.permissions().mode() & 0o7777), (1000, 0o2640));
    let link = fs::read_link(root.join("bin/sh")).unwrap();
    assert_eq!(link.to_str(), Some("busybox"));
}

#[test]
fn an_earlier_image_is_a_base_and_only_the_output_is_kept() {
    let Some(story) = Story::begin() else { return };
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- name: build
  from: {}
  workdir: /src
  steps: ['echo made > /src/tool', 'echo left > /src/rest']
  output: [/src/tool]
- name: app
  from: build
  entrypoint: [/src/tool]
- name: whole
  parent: build
  steps: ['cat /src/rest > /src/more']
",
        story.base
    ));
    let kiln = Kiln::new();
    let (app, _) = kiln.mockerfile(&project).opt("target", "app").image();
    assert_eq!(app.file("src/tool"), file(0o644, 0, "made\n"));
    assert_eq!(app.file("src/rest"), None);
    assert_eq!(app.file("bin/busybox"), None);
    assert_eq!(app.run_config()["Entrypoint"], json!(["/src/tool"]));
    let (whole, _) = kiln.mockerfile(&project).image();
    assert_eq!(whole.file("src/more"), file(0o644, 0, "left\n"));
}

#[test]
fn every_executor_makes_the_same_files() {
    let Some(story) = Story::begin() else { return };
    for executor in ["native", "runc", "crun"] {
        if executor != "native" && !(is_root() && has_program(executor)) {
            skip(&format!("root and {executor}"));
            continue;
        }
        let kiln = Kiln::new().flag(&format!("--executor={executor}"));
        let (image, _) = kiln.mockerfile(&story.project).image();
        let said = file(0o2640, owner(), "tool\nkubectl\n");
        assert_eq!(image.file("srv/said"), said, "{executor}");
        assert_eq!(image.file("srv/greeting"), file(0o644, 0, "hello from 0\n"), "{executor}");
        assert_eq!(image.manifest["layers"].as_array().unwrap().len(), 9, "{executor}");
    }
}
