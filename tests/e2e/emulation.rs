//! Builds for other platforms than this machine's: their steps run under emulators, and the machine's
//! own table of these is what it was.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_tests::{
    Image, ImageConfig, Kiln, Kilnd, OciImage, Outcome, Project, Registry, foreign_busybox,
    has_program, is_root, run, skip,
};
use serde_json::Value;

use super::rootless::{POWERLESS, open_to_all, unprivileged};

const LIMIT: Duration = Duration::from_secs(180);

/// What the kernel of the machine hands to interpreters, and where that is shown.
fn table_of_the_machine() -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten() {
        let content = fs::read_to_string(entry.path()).unwrap_or_default();
        writeln!(text, "{}: {content}", entry.path().display()).unwrap();
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    text + &mounts.lines().filter(|line| line.contains("binfmt_misc")).collect::<String>()
}

/// Looks at the table of the machine again and again.
struct Watch {
    before: String,
    ended: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Watch {
    fn begin() -> Self {
        let before = table_of_the_machine();
        let ended = Arc::new(AtomicBool::new(false));
        let (expected, end) = (before.clone(), Arc::clone(&ended));
        let task = thread::spawn(move || {
            let mut looks = 0;
            while !end.load(Ordering::Relaxed) {
                assert_eq!(table_of_the_machine(), expected, "the machine's table was touched");
                looks += 1;
                thread::sleep(Duration::from_millis(20));
            }
            looks
        });
        Self { before, ended, task }
    }

    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        assert!(self.task.join().expect("the table stays as it was") > 1);
        assert_eq!(table_of_the_machine(), self.before);
    }
}

/// A registry with a base for this machine and for others; `None`, and aloud, where it cannot be.
struct Scene {
    registry: Registry,
    base: String,
}

impl Scene {
    fn begin(architectures: &[&str]) -> Option<Self> {
        if std::env::consts::ARCH != "x86_64" {
            skip("a machine whose programs are not those of the others");
            return None;
        }
        let registry = Registry::start()?;
        let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
        let mut images = vec![Image::busybox(config.clone())];
        for architecture in architectures {
            let emulators = [("arm64", "aarch64"), ("arm", "arm"), ("riscv64", "riscv64")];
            let (_, name) = emulators.iter().find(|it| it.0 == *architecture).unwrap();
            let program = format!("qemu-{name}-static");
            if !has_program(&program) {
                skip(&program);
                return None;
            }
            let busybox = foreign_busybox(architecture)?;
            images.push(Image::busybox_for(config.clone(), architecture, &busybox));
        }
        let base = Image::push_all(&images, &registry, "library/base:1");
        Some(Self { registry, base })
    }

    /// The common stage draws a number; each platform says what it is, by a shell and by a program that
    /// the shell starts.
    fn dockerfile(&self) -> Project {
        let project = Project::new(&[]);
        let text = "FROM --platform=$BUILDPLATFORM BASE AS common
RUN cat /proc/sys/kernel/random/uuid > /drawn
FROM BASE
ARG TARGETARCH
RUN busybox uname -m > /machine && echo $TARGETARCH > /asked && ls /dev > /devices
RUN [\"busybox\", \"sh\", \"-c\", \"id -u; sh -c 'busybox uname -m'\"]
COPY --from=common /drawn /drawn
CMD [\"cat\", \"/machine\"]
";
        project.write("Dockerfile", text.replace("BASE", &self.base));
        project
    }
}

/// Kiln with every executor that there is.
fn executors() -> Vec<(&'static str, Kiln)> {
    let mut list = Vec::new();
    for name in ["native", "runc", "crun"] {
        if name != "native" && !(is_root() && has_program(name)) {
            skip(&format!("root and {name}"));
            continue;
        }
        list.push((name, Kiln::new().within(LIMIT).flag(&format!("--executor={name}"))));
    }
    list
}

/// Builds a project for this machine and for arm64.
fn build_both(kiln: &Kiln, project: &Project, frontend: &str) -> (OciImage, OciImage, Outcome) {
    let out = kiln.path("both.tar");
    let build = kiln.build().frontend(frontend).of(project);
    let build = build.opt("platform", "linux/amd64,linux/arm64");
    let outcome = build.output("type=oci", &out).run().succeeds();
    (OciImage::open_for(&out, "amd64"), OciImage::open_for(&out, "arm64"), outcome)
}

fn content(image: &OciImage, path: &str) -> String {
    image.file(path).unwrap_or_else(|| panic!("there is no {path}")).content.trim().to_owned()
}

#[test]
fn a_dockerfile_is_built_for_two_platforms_by_every_executor() {
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    let project = scene.dockerfile();
    for (executor, kiln) in executors() {
        let watch = Watch::begin();
        let (own, other, outcome) = build_both(&kiln, &project, "dockerfile.v0");
        watch.end();
        assert_eq!(content(&own, "machine"), "x86_64", "{executor}");
        assert_eq!(content(&other, "machine"), "aarch64", "{executor}");
        assert_eq!(content(&other, "asked"), "arm64", "{executor}");
        assert_eq!(content(&own, "drawn"), content(&other, "drawn"), "the common stage runs once");
        assert_eq!(own.file("devices"), other.file("devices"), "{executor}: the same devices");
        assert_eq!(other.config["architecture"], "arm64");
        let outcome = outcome.says(&["linux/arm64 under qemu-aarch64-static", "aarch64"]);
        assert!(!outcome.stderr.contains("linux/amd64 under"), "{outcome}");
        // Nothing of the emulator is in a layer, nor the place where it would be mounted.
        for path in ["dev/.buildkit_qemu_emulator", "usr/bin/qemu-aarch64-static"] {
            assert_eq!(other.file(path), None, "{executor}");
        }
    }
}

#[test]
fn a_mockerfile_is_built_for_two_platforms_by_every_executor() {
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- name: demo
  from: {}
  steps: ['busybox uname -m > /machine', 'sh -c \"cat /machine /machine\" > /twice']
",
        scene.base
    ));
    for (executor, kiln) in executors() {
        let watch = Watch::begin();
        let (own, other, outcome) = build_both(&kiln, &project, "mockerfile.v0");
        watch.end();
        assert_eq!(content(&own, "twice"), "x86_64\nx86_64", "{executor}");
        assert_eq!(content(&other, "twice"), "aarch64\naarch64", "{executor}");
        outcome.says(&["linux/arm64 under qemu-aarch64-static"]);
    }
}

#[test]
fn other_platforms_are_built_without_root() {
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    let Some(kiln) = unprivileged() else { return };
    let kiln = kiln.within(LIMIT);
    let project = scene.dockerfile();
    open_to_all(&project);
    let watch = Watch::begin();
    let (own, other, _) = build_both(&kiln, &project, "dockerfile.v0");
    watch.end();
    assert_eq!(content(&own, "machine"), "x86_64");
    assert_eq!(content(&other, "machine"), "aarch64");
}

#[test]
fn an_index_is_pushed_that_others_accept_and_whose_programs_run() {
    let Some(scene) = Scene::begin(&["arm64", "arm", "riscv64"]) else { return };
    let kiln = Kiln::new().within(LIMIT);
    let name = scene.registry.reference("library/made:1");
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7,linux/riscv64";
    let build = |project: &Project| {
        let build = kiln.build().frontend("dockerfile.v0").of(project);
        build.opt("platform", platforms)
    };
    let output = format!("--output=type=image,name={name},push=true,registry.insecure=true");
    build(&scene.dockerfile()).flag(output).run().succeeds();

    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    let raw = run(skopeo, b"", LIMIT).succeeds();
    let index: Value = serde_json::from_slice(&raw.stdout).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4, "{index}");
    let copied = kiln.path("copied");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false"]);
    skopeo.arg(format!("docker://{name}")).arg(format!("oci:{}:1", copied.display()));
    run(skopeo, b"", LIMIT).succeeds();
    imagetools_accepts(&name);

    // What the images say when they are run, by a build that starts from them.
    let project = Project::new(&[]);
    project.write(
        "Dockerfile",
        format!("FROM {name}\nRUN [\"cat\", \"/machine\"]\nRUN busybox uname -m > /again\n"),
    );
    let out = kiln.path("again.tar");
    let outcome = build(&project).output("type=oci", &out).run().succeeds();
    outcome.says(&["x86_64", "aarch64", "armv7l", "riscv64", "linux/arm/v7 under qemu-arm-static"]);
    let machines =
        [("amd64", "x86_64"), ("arm64", "aarch64"), ("arm", "armv7l"), ("riscv64", "riscv64")];
    for (architecture, machine) in machines {
        assert_eq!(content(&OciImage::open_for(&out, architecture), "again"), machine);
    }
}

/// Has `docker buildx` look at an image, where it is installed.
fn imagetools_accepts(name: &str) {
    let mut version = Command::new("docker");
    version.args(["buildx", "version"]);
    if !has_program("docker") || !run(version, b"", LIMIT).status.success() {
        return skip("docker buildx");
    }
    let mut inspect = Command::new("docker");
    inspect.args(["buildx", "imagetools", "inspect", name]);
    let shown = run(inspect, b"", LIMIT).succeeds();
    assert!(shown.text().contains("linux/riscv64"), "{shown}");
}

/// A user namespace in which no other can be made: as with a kernel that has no tables of their own.
const WITHOUT_NAMESPACES: &[&str] = &[
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"",
    "sh",
];

#[test]
fn an_emulator_is_put_before_the_program_where_the_kernel_cannot_be_told_of_it() {
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    let mut probe = Command::new(WITHOUT_NAMESPACES[0]);
    probe.args(&WITHOUT_NAMESPACES[1..]).arg("true");
    if !run(probe, b"", LIMIT).status.success() {
        return skip("user namespaces");
    }
    let kiln = Kiln::new().within(LIMIT).launched_by(WITHOUT_NAMESPACES);
    let project = Project::new(&[]);
    let steps = "FROM BASE
RUN read -r version < /proc/version; echo $0 > /shell
RUN [\"busybox\", \"uname\", \"-m\"]
";
    project.write("Dockerfile", steps.replace("BASE", &scene.base));
    let build =
        || kiln.build().frontend("dockerfile.v0").of(&project).opt("platform", "linux/arm64");
    let out = kiln.path("out.tar");
    let outcome = build().output("type=oci", &out).run().succeeds();
    outcome.says(&["aarch64", "linux/arm64 under qemu-aarch64-static", "kiln doctor"]);
    let image = OciImage::open(&out);
    assert_eq!(content(&image, "shell"), "/bin/sh");
    assert_eq!(image.file("dev/.buildkit_qemu_emulator"), None);
    project.write("Dockerfile", format!("FROM {}\nRUN sh -c 'busybox uname -m'\n", scene.base));
    build().run().fails();
}

#[test]
fn workers_and_provenance_say_what_is_emulated() {
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    let daemon = Kilnd::start();
    let client = daemon.client().within(LIMIT);
    let workers = client.run(&["debug", "workers"]).succeeds();
    for platform in ["linux/amd64", "linux/386", "linux/arm64", "linux/arm/v7", "linux/arm/v6"] {
        assert!(workers.text().contains(platform), "{workers}");
    }
    let out = client.path("out");
    let project = scene.dockerfile();
    let build = client.build().frontend("dockerfile.v0").of(&project);
    let build = build.opt("platform", "linux/amd64,linux/arm64");
    build.opt("attest:provenance", "mode=max").output("type=local", &out).run().succeeds();
    let emulated = |platform: &str| {
        let text = fs::read(out.join(platform).join("provenance.json")).unwrap();
        let statement: Value = serde_json::from_slice(&text).unwrap();
        statement["predicate"]["buildDefinition"]["internalParameters"]["emulated"].clone()
    };
    assert_eq!(emulated("linux_arm64")["linux/arm64"], "qemu-aarch64-static");
    assert_eq!(emulated("linux_amd64"), Value::Null);
}

#[test]
fn a_platform_without_an_emulator_is_refused_by_name() {
    let project = Project::new(&[]);
    let Some(scene) = Scene::begin(&["arm64"]) else { return };
    project.write("Dockerfile", format!("FROM {}\nRUN true\n", scene.base));
    // Only directories of the system are searched, so it has to be taken from there.
    let hide = "mount --bind /dev/null /usr/bin/qemu-aarch64-static && exec \"$@\"";
    let launcher = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    let mut probe = Command::new(launcher[0]);
    probe.args(&launcher[1..]).arg("true");
    if !run(probe, b"", LIMIT).status.success() || table_of_the_machine().contains("aarch64") {
        return skip("mounts, and a machine that does not run arm64 by itself");
    }
    let kiln = Kiln::new().launched_by(&launcher);
    let build = kiln.build().frontend("dockerfile.v0").of(&project).opt("platform", "linux/arm64");
    build.run().fails().says(&["the step is for linux/arm64", "qemu-user-static", "kiln doctor"]);
}

#[test]
fn the_doctor_says_what_this_machine_runs() {
    let kiln = Kiln::new();
    let seen = kiln.run(&["doctor", "--format=json"]);
    let document: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(document["ok"], seen.status.success(), "{seen}");
    let checks = document["checks"].as_array().unwrap();
    let status = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("nothing is said of {name}: {seen}"))["status"].clone()
    };
    for name in ["kernel", "user namespaces", "subordinate ids", "overlayfs", "disk", "clock"] {
        status(name);
    }
    if seen.status.success() && std::env::consts::ARCH == "x86_64" {
        assert_eq!(status("containers"), "ok", "{seen}");
        assert_eq!(status("platform linux/amd64"), "ok", "{seen}");
        if has_program("qemu-aarch64-static") {
            assert_eq!(status("platform linux/arm64"), "ok", "{seen}");
        }
    }
    assert!(!kiln.root().join("scratch").exists());
    let table = kiln.run(&["doctor"]);
    assert!(table.text().starts_with("STATUS"), "{table}");
}

#[test]
fn the_doctor_says_what_is_missing_without_namespaces() {
    let mut probe = Command::new(POWERLESS[0]);
    probe.args(&POWERLESS[1..]).arg("true");
    if !has_program("setpriv") || !run(probe, b"", LIMIT).status.success() {
        return skip("setpriv and user namespaces");
    }
    let seen = Kiln::new().launched_by(POWERLESS).run(&["doctor"]).fails();
    for words in [
        "problem",
        "the kernel allows none",
        "sysctl -w user.max_user_namespaces",
        "Builds will fail",
    ] {
        assert!(seen.text().contains(words), "{words}: {seen}");
    }
}
