//! Builds by users without privileges.

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Kiln, OciImage, Project, has_program, is_root, run, skip};

use super::story::Story;

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// `kiln` as a user who may do nothing; as this user, if that is such a one.
fn unprivileged() -> Option<Kiln> {
    let kiln = Kiln::new();
    let launcher: &[&str] = match is_root() {
        true if !has_program("setpriv") => {
            skip("setpriv");
            return None;
        }
        true => NOBODY,
        false => &[],
    };
    if is_root() {
        chown(kiln.home(), Some(65534), Some(65534)).unwrap();
    }
    let mut probe = Command::new(launcher.first().unwrap_or(&"unshare"));
    let words = launcher.iter().skip(1).copied().chain(["unshare"]);
    probe.args(words.skip(usize::from(launcher.is_empty())));
    probe.args(["--user", "--map-root-user", "--mount", "true"]);
    let probe = run(probe, b"", Duration::from_secs(5));
    if !probe.status.success() {
        skip("user namespaces for everybody");
        return None;
    }
    Some(kiln.launched_by(launcher))
}

#[test]
fn an_image_of_files_is_built_without_root() {
    let Some(kiln) = unprivileged() else { return };
    let project = Project::new(&[
        ("motd", "welcome\n"),
        (
            "Mockerfile.yaml",
            "apiVersion: v1alpha1
images:
- name: demo
  from: scratch
  labels: {team: e2e}
  external: [{src: motd, dst: /etc/motd}]
  cmd: [/etc/motd]
",
        ),
    ]);
    open_to_all(&project);
    let out = kiln.path("out.tar");
    kiln.mockerfile(&project).output("type=oci", &out).run().succeeds();
    let image = OciImage::open(&out);
    let motd = image.file("etc/motd").unwrap();
    assert_eq!((motd.content.as_str(), motd.owner), ("welcome\n", (0, 0)));
    assert_eq!(image.run_config()["Labels"]["team"], "e2e");
    let again = kiln.mockerfile(&project).run().succeeds();
    assert_eq!(again.worked(), [""; 0], "{again}");
}

#[test]
fn commands_run_without_root() {
    let Some(story) = Story::begin() else { return };
    let Some(kiln) = unprivileged() else { return };
    open_to_all(&story.project);
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- {{name: demo, from: '{}', workdir: /work, steps: ['id -u > id', 'cat id id > twice']}}
",
        story.base
    ));
    open_to_all(&project);
    let out = kiln.path("out.tar");
    kiln.mockerfile(&project).output("type=oci", &out).run().succeeds();
    let twice = OciImage::open(&out).file("work/twice").unwrap();
    assert_eq!((twice.content.as_str(), twice.owner), ("0\n0\n", (0, 0)));
}

/// Directories for tests are made for their maker only.
fn open_to_all(project: &Project) {
    use std::os::unix::fs::PermissionsExt as _;
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(project.path(), everybody).unwrap();
}
