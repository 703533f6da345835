//! Builds by users without privileges.

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Kiln, OciImage, Project, has_program, is_root, run, skip};

use super::story::Story;

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// `kiln` as a user who may do nothing; as this user, if that is such a one.
pub(super) fn unprivileged() -> Option<Kiln> {
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

/// Starts kiln as root without one capability, where no user namespace can be made: what is left of
/// root in an ordinary container. The namespace around it is only there to forbid others.
pub(super) const POWERLESS: &[&str] = &[
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --bounding-set=-all \"$@\"",
    "sh",
];

#[test]
fn without_any_rights_files_are_built_and_processes_refused_with_a_reason() {
    let mut probe = Command::new(POWERLESS[0]);
    probe.args(&POWERLESS[1..]).args([
        "grep",
        "-q",
        "CapEff:\t0000000000000000",
        "/proc/self/status",
    ]);
    if !has_program("setpriv") || !run(probe, b"", Duration::from_secs(5)).status.success() {
        skip("setpriv and user namespaces");
        return;
    }
    let kiln = Kiln::new();
    let powerless = Kiln::new().launched_by(POWERLESS);
    let project = Project::new(&[
        ("one", "1\n"),
        ("two", "2\n"),
        ("deep/three", "3\n"),
        (
            "Dockerfile",
            "FROM scratch AS base
WORKDIR /work
COPY one deep /work/
COPY --chown=7:8 --chmod=0400 two /work/two
COPY two /work/one
FROM base
COPY --from=base /work /copied
COPY --link one /linked
ADD one /work/
",
        ),
        ("run/Dockerfile", "FROM scratch\nCOPY one /one\nRUN [\"/one\"]\n"),
    ]);
    let image = |kiln: &Kiln| {
        let build = kiln.build().frontend("dockerfile.v0").of(&project);
        build.opt("build-arg:SOURCE_DATE_EPOCH", "1700000000").image()
    };
    let ((expected, _), (built, _)) = (image(&kiln), image(&powerless));
    let files = |image: &OciImage| {
        let names = ["work/one", "work/two", "work/three", "copied/two", "linked"];
        names.map(|name| image.file(name).map(|file| (file.content.clone(), file.owner, file.mode)))
    };
    assert_eq!(files(&built), files(&expected));
    assert_eq!(built.file("work/two").unwrap().owner, (7, 8));

    let build = powerless.build().frontend("dockerfile.v0").local("context", project.path());
    let refused = build.local("dockerfile", &project.path().join("run")).run().fails();
    refused.says(&[
        "no process can be run here",
        "make namespaces",
        "CAP_SYS_ADMIN",
        "--privileged",
    ]);
    let workers = powerless.run(&["debug", "workers", "-v"]).succeeds();
    assert!(workers.text().contains("kiln.dev/containers:\trefused"), "{workers}");
}

/// Directories for tests are made for their maker only.
pub(super) fn open_to_all(project: &Project) {
    use std::os::unix::fs::PermissionsExt as _;
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(project.path(), everybody).unwrap();
}
