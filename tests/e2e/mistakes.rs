//! Bad input of every kind: the user reads where and why, the program ends with exit code 1, and
//! the state is as good as before.

use std::time::Duration;

use kiln_tests::archive::{Entry, tar_gz};
use kiln_tests::{
    Build, Image, ImageConfig, Kiln, Project, Registry, WebServer, has_program, is_root, sha256,
    skip,
};
use rustix::process::Signal;

use super::story::{Story, base_config};

/// A place in which things go wrong, and a build that does not.
struct Scene {
    kiln: Kiln,
    good: Project,
    base: String,
    registry: Registry,
}

impl Scene {
    fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let base = Image::busybox(base_config()).push(&registry, "base:1");
        let good = Project::mockerfile(&image(&base, "steps: ['head -c 4 /dev/urandom > /four']"));
        let scene = Self { kiln: Kiln::new(), good, base, registry };
        scene.kiln.mockerfile(&scene.good).run().succeeds();
        Some(scene)
    }

    /// A mockerfile with one image on the base and these further lines.
    fn project(&self, lines: &str) -> Project {
        Project::mockerfile(&image(&self.base, lines))
    }

    /// Builds what cannot be built; its error says all of `texts`.
    #[track_caller]
    fn check(&self, project: &Project, texts: &[&str]) {
        self.check_build(self.kiln.mockerfile(project), texts);
    }

    #[track_caller]
    fn check_build(&self, build: Build<'_>, texts: &[&str]) {
        build.run().fails().says(texts);
        self.state_is_intact();
    }

    /// What was built before is still there, to the last step.
    #[track_caller]
    fn state_is_intact(&self) {
        let outcome = self.kiln.mockerfile(&self.good).run().succeeds();
        assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    }
}

fn image(base: &str, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1alpha1\nimages:\n- name: demo\n  from: {base}\n{lines}")
}

#[test]
fn mistakes_in_the_file_are_shown_at_their_place() {
    let Some(scene) = Scene::begin() else { return };
    let unknown_key = scene.project("step: [make]");
    scene.check(
        &unknown_key,
        &["unknown key `step`", "Mockerfile.yaml:5:3", "did you mean `steps`?"],
    );
    let wrong_type = scene.project("steps: make");
    scene.check(&wrong_type, &["expected a list, found a string", "Mockerfile.yaml:5:10"]);
    let no_yaml = scene.project("steps: [make");
    scene.check(&no_yaml, &["Mockerfile.yaml:"]);
}

#[test]
fn a_yaml_bomb_is_disarmed() {
    let Some(scene) = Scene::begin() else { return };
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "));
    }
    let outcome = scene.kiln.mockerfile(&Project::mockerfile(&bomb)).run();
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome}");
    outcome.fails().says(&["Mockerfile.yaml:", "limit"]);
    scene.state_is_intact();
}

#[test]
fn what_is_missing_is_named() {
    let Some(scene) = Scene::begin() else { return };
    scene.check(&Project::new(&[]), &["Mockerfile.yaml", "no such file"]);
    let file = scene.project("external:\n- {src: nowhere/at/all, dst: /x}");
    scene.check(&file, &["nowhere/at/all", "Mockerfile.yaml:6", "[demo 2/2]"]);
    let good = scene.kiln.mockerfile(&scene.good);
    scene.check_build(
        good.clone().opt("target", "dmeo"),
        &["target `dmeo` does not exist", "`demo`"],
    );
    let elsewhere = good.local("context", std::path::Path::new("/nowhere/at/all"));
    scene.check_build(elsewhere, &["/nowhere/at/all"]);
}

#[test]
fn downloads_that_fail_name_their_address_and_line() {
    let Some(scene) = Scene::begin() else { return };
    let web = WebServer::start();
    let url = web.url("/not/there");
    let missing = scene.project(&format!("external:\n- {{src: '{url}', dst: /x}}"));
    scene.check(&missing, &["404", &url, "Mockerfile.yaml:6"]);
    let url = web.serve("/other", "not what was promised");
    let promised = "0".repeat(64);
    let lines = format!("external:\n- {{src: '{url}', dst: /x, sha256: '{promised}'}}");
    let actual = sha256(b"not what was promised");
    scene.check(&scene.project(&lines), &[&url, &promised, &actual, "Mockerfile.yaml:6"]);
    // The right one is not spoilt by the wrong one.
    let right = lines.replace(&promised, &actual);
    scene.kiln.mockerfile(&scene.project(&right)).run().succeeds();
}

#[test]
fn a_failing_step_shows_its_command_exit_code_and_last_lines() {
    let Some(scene) = Scene::begin() else { return };
    let project = scene.project("steps:\n- 'true'\n- seq 1 50; echo it hurts >&2; exit 42");
    scene.check(
        &project,
        &[
            "[demo 3/3] seq 1 50; echo it hurts >&2; exit 42",
            "exit code: 42",
            "it hurts",
            "Mockerfile.yaml:7",
            ">>>",
        ],
    );
    let killed = scene.project("steps: [\"sh -c 'kill -9 $$'; exit $?\"]");
    scene.check(&killed, &["[demo 2/2] sh -c 'kill -9 $$'", "exit code: 137"]);
    let no_program = scene.project("steps: [no-such-program]");
    scene.check(&no_program, &["[demo 2/2] no-such-program", "exit code: 127"]);
}

#[test]
fn a_base_that_cannot_be_had_is_shown_where_it_is_named() {
    let Some(scene) = Scene::begin() else { return };
    let from = |reference: &str| Project::mockerfile(&image(reference, ""));
    let place = "Mockerfile.yaml:4:9";
    let unknown = scene.registry.reference("no/such:image");
    scene.check(&from(&unknown), &[&unknown, "not found", place]);

    let refusing = WebServer::start();
    refusing.refuse("403 Forbidden");
    let refused = format!("{}/some/image:1", refusing.host());
    scene.check(&from(&refused), &[&refused, "access denied", place]);

    let stopped = Registry::start().unwrap();
    let down = stopped.reference("some/image:1");
    stopped.stop();
    scene.check(&from(&down), &[&down, "refused", place]);
}

#[test]
fn archives_that_escape_are_refused_and_touch_nothing() {
    let Some(scene) = Scene::begin() else { return };
    let web = WebServer::start();
    let outside = scene.kiln.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let up = format!("{}{}/file", "../".repeat(20), outside.display());
    let absolute = format!("{}/file", outside.display());
    let link = outside.display().to_string();
    let entry = |name| Entry::File(name, 0o644, 0, b"gotcha\n");
    let archives: [(&str, Vec<Entry<'_>>); 3] = [
        ("dots", vec![entry(&up)]),
        ("absolute", vec![entry(&absolute)]),
        ("link", vec![Entry::Link("out", &link), entry("out/file")]),
    ];
    for (name, entries) in archives {
        let url = web.serve(&format!("/{name}.tar.gz"), tar_gz(&entries));
        let project = scene.project(&format!("external:\n- {{src: '{url}', dst: /x}}"));
        let outcome = scene.kiln.mockerfile(&project).run();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{name} escaped: {outcome}");
        // Names that only look as if they escape may be taken as names within the image.
        if !outcome.status.success() {
            outcome.fails().says(&["[demo 2/2]", "Mockerfile.yaml:6"]);
        }
        scene.state_is_intact();
    }
    let digits: Vec<u8> =
        (0..20_000).flat_map(|n: u32| sha256(&n.to_le_bytes()).into_bytes()).collect();
    let cut = tar_gz(&[Entry::File("file", 0o644, 0, &digits)]);
    let url = web.serve("/cut.tar.gz", &cut[..cut.len() / 2]);
    let project = scene.project(&format!("external:\n- {{src: '{url}', dst: /x}}"));
    scene.check(&project, &["[demo 2/2]", "Mockerfile.yaml:6"]);
}

/// A frontend image whose program is a line of shell.
fn shell_frontend(scene: &Scene, name: &str, line: &str) -> String {
    let entrypoint = vec!["/bin/sh".into(), "-c".into(), line.into()];
    let config = ImageConfig { entrypoint, ..base_config() };
    Image::busybox(config).push(&scene.registry, name)
}

#[test]
fn a_frontend_image_that_is_none_says_so() {
    let Some(scene) = Scene::begin() else { return };
    let frontend = |source: &str| {
        scene.kiln.build().of(&scene.good).frontend("gateway.v0").opt("source", source)
    };
    scene.check_build(frontend(&scene.base), &[&scene.base, "entrypoint"]);
    let crashes = shell_frontend(&scene, "crashes", "echo out of cheese >&2; exit 3");
    scene.check_build(frontend(&crashes), &[&crashes, "exit code 3", "out of cheese"]);
    let babbles =
        shell_frontend(&scene, "babbles", "yes this is no http | head -c 100000; sleep 1");
    scene.check_build(frontend(&babbles), &[&babbles]);
    let missing = scene.registry.reference("no/frontend:1");
    scene.check_build(frontend(&missing), &[&missing, "not found"]);
    scene.check_build(
        scene.kiln.build().of(&scene.good).frontend("gateway.v0"),
        &["gateway.v0", "source"],
    );
    scene.check_build(
        scene.kiln.build().of(&scene.good).frontend("unheard-of.v0"),
        &["unheard-of.v0", "not found"],
    );
}

#[test]
fn a_frontend_that_hangs_can_be_interrupted() {
    let Some(scene) = Scene::begin() else { return };
    let seconds = "7141.5";
    let hangs = shell_frontend(&scene, "hangs", &format!("sleep {seconds}"));
    let build = scene.kiln.build().of(&scene.good).frontend("gateway.v0").opt("source", &hangs);
    let running = build.start();
    super::crashes::until(|| super::crashes::runs(seconds), "the frontend does not start");
    running.signal(Signal::INT);
    let outcome = running.wait(Duration::from_secs(10));
    assert!(!outcome.status.success(), "{outcome}");
    super::crashes::until(|| !super::crashes::runs(seconds), "the frontend is left behind");
    scene.state_is_intact();
}

#[test]
fn a_step_that_hangs_can_be_interrupted() {
    let Some(scene) = Scene::begin() else { return };
    let seconds = "7142.5";
    let project = scene.project(&format!("steps: ['echo waiting; sleep {seconds}']"));
    let mut running = scene.kiln.mockerfile(&project).start();
    running.wait_for(" waiting\n", Duration::from_secs(20));
    running.signal(Signal::INT);
    let outcome = running.wait(Duration::from_secs(10));
    assert!(!outcome.status.success(), "{outcome}");
    super::crashes::until(|| !super::crashes::runs(seconds), "the step is left behind");
    scene.state_is_intact();
}

/// A small disk; gone on drop.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "kiln-tests"])
            .arg(directory.path());
        kiln_tests::run(mount, b"", Duration::from_secs(10)).succeeds();
        Self(directory)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_full_disk_ends_the_build_and_nothing_else() {
    let Some(story) = Story::begin() else { return };
    if !is_root() || !has_program("mount") {
        return skip("root");
    }
    let disk = Disk::new("48m");
    let kiln = Kiln::at(&disk.0.path().join("state"));
    let project = |lines: &str| Project::mockerfile(&image(&story.base, lines));
    let good = project("steps: ['head -c 4 /dev/urandom > /four']");
    kiln.mockerfile(&good).run().succeeds();
    let full = project("steps: ['dd if=/dev/zero of=/big bs=1000000 count=99']");
    kiln.mockerfile(&full).run().fails().says(&["[demo 2/2]", "No space left on device"]);
    let outcome = kiln.mockerfile(&good).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    // So is one on which a download does not fit.
    let url = story.web.serve("/big", vec![0; 99_000_000]);
    let full = project(&format!("external: [{{src: '{url}', dst: /big}}]"));
    kiln.mockerfile(&full).run().fails().says(&[&url, "Mockerfile.yaml:5", "space"]);
    let outcome = kiln.mockerfile(&good).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
}
