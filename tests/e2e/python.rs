//! A build language in another programming language, as people would use it: the example in
//! Python, straight over the gateway protocol, as a plugin of `kiln build` and before the kit.

use std::path::PathBuf;
use std::process::Command;

use kiln_tests::{Image, ImageConfig, Kiln, Project, Registry, skip};

/// The plugin, unless the machine cannot run it.
fn plugin() -> Option<PathBuf> {
    let mut python = Command::new("/usr/bin/python3");
    if !python.args(["-c", "import h2"]).output().is_ok_and(|output| output.status.success()) {
        skip("python3-h2");
        return None;
    }
    Some(folder().join("kiln-frontend-steps"))
}

fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.parent().unwrap().join("examples/python-plugin")
}

/// A base image whose config says something.
fn base(registry: &Registry) -> String {
    let config = ImageConfig {
        env: vec!["PATH=/bin".into(), "BASE=yes".into()],
        labels: [("vendor".into(), "tests".into())].into(),
        ..ImageConfig::default()
    };
    Image::busybox(config).push(registry, "base:1")
}

#[test]
fn a_plugin_in_python_builds_an_image() {
    let Some(plugin) = plugin() else { return };
    let Some(registry) = Registry::start() else { return };
    let base = base(&registry);
    let project = Project::new(&[("greet.sh", "echo $GREETING, $WHO > /greeting\n")]);
    project.write(
        "build.steps",
        format!("from: {base}\narg: WHO\nenv: GREETING=hello\ncopy: greet.sh /greet.sh\nrun: sh /greet.sh\n"),
    );
    let kiln = Kiln::new();
    let build = || kiln.build().of(&project).frontend(&plugin).opt("build-arg:WHO", "python");
    let (image, _) = build().opt("label:by", "me").image();
    assert_eq!(image.file("greeting").unwrap().content, "hello, python\n");
    let config = image.run_config();
    assert_eq!(config["Labels"], serde_json::json!({ "by": "me", "vendor": "tests" }));
    assert_eq!(config["Env"], serde_json::json!(["PATH=/bin", "BASE=yes", "GREETING=hello"]));

    let (_, again) = build().image();
    assert_eq!(again.worked(), [""; 0], "{again}");
}

#[test]
fn mistakes_are_shown_in_the_file_whatever_the_frontend_is_written_in() {
    let Some(plugin) = plugin() else { return };
    let Some(registry) = Registry::start() else { return };
    let base = base(&registry);
    let kiln = Kiln::new();
    let project = Project::new(&[]);
    project.write("build.steps", format!("from: {base}\nrnu: make\n"));
    let build = || kiln.build().of(&project).frontend(&plugin);
    build().run().fails().says(&["build.steps:2", "expected one of name, from", "rnu: make"]);
    // A command that fails points at its line, by the source map.
    project.write("build.steps", format!("from: {base}\n\nrun: exit 7\n"));
    build().run().fails().says(&["build.steps:3", "run: exit 7"]);
}

#[test]
fn the_kit_finds_nothing_wrong_with_the_plugin() {
    let Some(plugin) = plugin() else { return };
    let kiln = Kiln::new();
    let samples = folder().join("conform");
    let arguments: [&std::ffi::OsStr; 4] =
        ["frontend".as_ref(), "conform".as_ref(), plugin.as_os_str(), samples.as_os_str()];
    let told = String::from_utf8_lossy(&kiln.run(&arguments).succeeds().stdout).into_owned();
    assert!(told.contains("pass  source-maps") && told.contains(", 0 failed"), "{told}");
}
