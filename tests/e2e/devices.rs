//! Devices of the machine: who may have which, and what a step with one gets.

use std::fs;
use std::path::PathBuf;

use kiln_tests::{
    Image, ImageConfig, Kilnd, Outcome, Project, Registry, has_program, is_root, skip,
};

/// Two devices, of which every build may use one; both are devices that every machine has.
const SPECIFICATION: &str = "
cdiVersion: 0.6.0
kind: example.com/thing
annotations: { org.mobyproject.buildkit.device.class: things }
containerEdits: { env: [THING=1] }
devices:
- name: free
  annotations: { org.mobyproject.buildkit.device.autoallow: true }
  containerEdits:
    env: [FREE=given]
- name: full
  containerEdits:
    env: [FULL=given]
    additionalGids: [4242]
    deviceNodes: [{ path: /dev/things/full, hostPath: /dev/full, fileMode: 384 }]
    mounts: [{ hostPath: SHOWN, containerPath: /opt/thing/shown, options: [ro, nosuid, nodev] }]
- name: hooked
  annotations: { org.mobyproject.buildkit.device.autoallow: true }
  containerEdits:
    hooks: [{ hookName: createRuntime, path: /bin/true }]
";

struct Bench {
    daemon: Kilnd,
    project: Project,
    base: String,
    _registry: Registry,
}

impl Bench {
    fn new(flags: &[&str]) -> Option<Self> {
        let registry = Registry::start()?;
        let base = Image::busybox(ImageConfig::default()).push(&registry, "base:1");
        let project = Project::new(&[("shown", "shown\n")]);
        let specifications = project.path().join("cdi");
        fs::create_dir(&specifications).unwrap();
        let directory = format!("--cdi-spec-dir={}", specifications.display());
        let mut flags = flags.to_vec();
        flags.push(&directory);
        let daemon = Kilnd::with(&flags);
        // Specifications may come later than the daemon.
        let shown = project.path().join("shown").display().to_string();
        fs::write(specifications.join("things.yaml"), SPECIFICATION.replace("SHOWN", &shown))
            .unwrap();
        Some(Self { daemon, project, base, _registry: registry })
    }

    /// What comes of a step with these flags, where a build may use these devices.
    fn step(&self, flags: &str, command: &str, allow: &[&str]) -> Outcome {
        let base = &self.base;
        self.project.write(
            "Dockerfile",
            format!("# syntax=docker/dockerfile:1-labs\nFROM {base}\nRUN {flags} {command}\n"),
        );
        let client = self.daemon.client();
        let mut build = client.build().frontend("dockerfile.v0").of(&self.project);
        for allow in allow {
            build = build.flag(format!("--allow={allow}"));
        }
        build.run()
    }
}

/// The runtimes of the machine, Kiln's own first.
fn runtimes() -> impl Iterator<Item = Option<&'static str>> {
    let installed = ["runc", "crun"].into_iter().filter(|name| has_program(name));
    std::iter::once(None).chain(installed.map(Some))
}

#[test]
fn a_step_gets_devices_that_are_allowed_and_no_others() {
    let Some(bench) = Bench::new(&[]) else { return };
    let workers = bench.daemon.client().run(&["debug", "workers", "-v"]).succeeds().text();
    for name in ["free", "full", "hooked"] {
        assert!(workers.contains(&format!("example.com/thing={name}")), "{workers}");
    }
    let show = "echo free=$FREE full=$FULL thing=$THING";
    let free = "--device=example.com/thing=free,required";
    bench.step(free, show, &[]).succeeds().says(&["free=given full= thing=1"]);
    let full = "--device=example.com/thing=full,required";
    let denied = "device example.com/thing=full is requested by the build but not allowed";
    bench.step(full, show, &[]).fails().says(&[denied]);
    bench.step(full, show, &["device=example.com/thing=free"]).fails().says(&[denied]);
    for allow in ["device", "device=example.com/thing", "device=example.com/thing=full"] {
        // The second one means the first of its kind. What a device does to a step is in no key.
        let outcome = bench.step(full, &format!("{show} # {allow}"), &[allow]);
        match allow {
            "device=example.com/thing" => drop(outcome.fails().says(&[denied])),
            _ => drop(outcome.succeeds().says(&["free= full=given thing=1"])),
        }
    }
    let aliased = ["device=example.com/thing=full,alias=gpu"];
    bench.step("--device=gpu", show, &aliased).succeeds().says(&["full=given"]);
    let missing = bench.step("--device=example.com/none,required", show, &["device"]).fails();
    missing.says(&["required device \"example.com/none\" is not registered"]);
    bench.step("--device=example.com/none", show, &[]).succeeds().says(&["free= full= thing="]);
}

#[test]
fn a_daemon_that_gives_no_devices_says_so() {
    let Some(bench) = Bench::new(&["--cdi-disabled"]) else { return };
    let refused = bench.step("--device=example.com/thing=free,required", "true", &[]).fails();
    refused.says(&["not allowed: the daemon's configuration disables devices (cdi.disabled)"]);
    bench.step("", "true", &["device"]).fails().says(&["entitlement device is not allowed"]);
}

#[test]
fn nodes_mounts_and_groups_of_a_device_are_there_and_in_no_layer() {
    if !is_root() {
        return skip("root, to make device nodes");
    }
    for runtime in runtimes() {
        let binary = runtime.map(|name| format!("--oci-worker-binary={name}"));
        let flags: Vec<&str> = binary.as_deref().into_iter().collect();
        let Some(bench) = Bench::new(&flags) else { return };
        let look = "ls -l /dev/things; id -G; cat /opt/thing/shown; \
                    echo x 2>&1 > /dev/things/full || echo is full; \
                    ! echo x 2> /dev/null > /opt/thing/shown && echo read-only";
        let outcome =
            bench.step("--device=example.com/thing=full,required", look, &["device"]).succeeds();
        let expected = ["crw-------", "1,   7", "0 4242", "shown\n", "is full", "read-only"];
        outcome.says(&expected);
        // Other devices are as dead as ever.
        let other = "mknod /mem c 1 1; ! cat /mem > /dev/null 2>&1 && echo dead; rm /mem";
        let other = bench.step("--device=example.com/thing=full", other, &["device"]).succeeds();
        other.says(&["dead"]);
        let out: PathBuf = bench.project.path().join("out");
        let base = &bench.base;
        bench.project.write(
            "Dockerfile",
            format!(
                "# syntax=docker/dockerfile:1-labs\nFROM {base} AS work\n\
                 RUN --device=example.com/thing=full touch /made\nFROM scratch\nCOPY --from=work / /\n"
            ),
        );
        let client = bench.daemon.client();
        let build = client.build().frontend("dockerfile.v0").of(&bench.project);
        build.flag("--allow=device").output("type=local", &out).run().succeeds();
        assert!(out.join("made").exists() && !out.join("opt").exists(), "{runtime:?}");
        assert!(!out.join("dev/things").exists(), "{runtime:?}");
    }
}

#[test]
fn hooks_of_devices_are_a_runtimes_to_start() {
    let Some(bench) = Bench::new(&[]) else { return };
    let hooked = "--device=example.com/thing=hooked,required";
    let refused = bench.step(hooked, "true", &[]).fails();
    refused.says(&["start hook /bin/true (createRuntime)", "--oci-worker-binary"]);
    for runtime in runtimes().flatten() {
        let flag = format!("--oci-worker-binary={runtime}");
        let Some(bench) = Bench::new(&[&flag]) else { return };
        bench.step(hooked, "echo runs", &[]).succeeds().says(&["runs"]);
    }
}
