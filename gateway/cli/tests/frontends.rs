//! The commands for makers of frontends, as they are typed, on a language that is linked in.
//!
//! None of them may need a daemon: the state directory they are given cannot be made.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

const FILE: &str =
    "apiVersion: v1alpha1\nimages:\n- name: demo\n  from: debian:13\n  steps: [make]\n";

/// A directory with a mockerfile.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        stage.write("Mockerfile.yaml", FILE);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(["--root", "/proc/nowhere"]).args(words).current_dir(self.0.path());
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Standard output of a command that ends well.
    #[track_caller]
    fn output(&self, words: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(words);
        assert_eq!(code, 0, "{stderr}");
        stdout
    }
}

#[test]
fn a_snapshot_is_the_steps_of_a_file() {
    let stage = Stage::new();
    let named = stage.output(&["frontend", "snapshot", "mockerfile", "Mockerfile.yaml"]);
    assert!(named.starts_with("1 image docker.io/library/debian:13"), "{named}");
    assert!(named.contains("    run /bin/sh -c make\n"), "{named}");
    // The name of the file says which language it is in.
    assert_eq!(stage.output(&["frontend", "snapshot", "Mockerfile.yaml"]), named);
    let (_, _, note) = stage.run(&["frontend", "snapshot", "Mockerfile.yaml"]);
    assert!(note.starts_with("note: made up what the registry would say about"), "{note}");
}

#[test]
fn a_graph_is_dot_or_a_picture_in_every_command_that_has_one() {
    let stage = Stage::new();
    let dot = stage.output(&["frontend", "graph", "Mockerfile.yaml"]);
    assert!(dot.starts_with("digraph {"), "{dot}");
    let svg = stage.output(&["frontend", "graph", "Mockerfile.yaml", "--format=svg"]);
    assert!(svg.starts_with("<svg "), "{svg}");
    let binary = stage.command(&["frontend", "snapshot", "Mockerfile.yaml", "--format=binary"]);
    let binary = { binary }.output().unwrap().stdout;
    std::fs::write(stage.path("definition"), binary).unwrap();
    assert_eq!(stage.output(&["debug", "dump-llb", "--svg", "definition"]), svg);
    assert_eq!(stage.output(&["debug", "dump-llb", "--dot", "definition"]), dot);
}

#[test]
fn the_llb_of_one_file_is_the_answer_of_a_recorded_build() {
    let stage = Stage::new();
    let config = r#"{"architecture":"amd64","os":"linux","config":{"WorkingDir":"/w"}}"#;
    stage.write("config.json", config);
    let words = ["debug", "llb", "--frontend=mockerfile.v0", "--file=Mockerfile.yaml"];
    let flags = ["--image=debian:13=config.json", "--opt=label:a=b", "--format=json"];
    let (code, json, stderr) = stage.run(&[&words[..], &flags[..]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    let answer = &answer["build"];
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["results"][0]["image_config"]["config"]["WorkingDir"], "/w");
    assert_eq!(answer["results"][0]["image_config"]["config"]["Labels"]["a"], "b");
    let ops = answer["results"][0]["ops"].as_array().unwrap();
    assert_eq!(ops.len(), 3);
    assert!(json.contains("\"local.session\": \"session-0\""), "{json}");
}

#[test]
fn a_mistake_is_shown_at_its_line() {
    let stage = Stage::new();
    stage.write("Mockerfile.yaml", &FILE.replace("from", "form"));
    let (code, stdout, stderr) = stage.run(&["frontend", "snapshot", "Mockerfile.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let beginning = "error: unknown key `form`\n --> Mockerfile.yaml:4:3\n";
    assert!(stderr.starts_with(beginning), "{stderr}");
}

#[test]
fn a_replay_ends_with_what_came_of_it() {
    let stage = Stage::new();
    stage.write("case/Mockerfile.yaml", FILE);
    stage.write("case/case.json", r#"{"requests": [], "images": [{"ref": "debian:13", "platform": "linux/amd64", "config": {"architecture": "amd64", "os": "linux"}}]}"#);
    let replay = ["frontend", "replay", "mockerfile", "case"];
    let (code, answer, stderr) = stage.run(&replay);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stage.write("case/expected.json", &answer);
    assert_eq!(stage.run(&replay), (0, answer.clone(), String::new()));
    stage.write("case/Mockerfile.yaml", &FILE.replace("make", "make -j2"));
    let (code, other, stderr) = stage.run(&replay);
    assert_eq!(code, 1);
    assert_ne!(other, answer);
    assert!(stderr.contains("make -j2"), "{stderr}");

    for (case, reason) in [
        ("nowhere", "cannot read nowhere/case.json"),
        ("misspelt", "unknown field `option`"),
        ("other", "channel \"nightly\" is none"),
    ] {
        stage.write("misspelt/case.json", r#"{"option": {}}"#);
        stage.write("other/case.json", r#"{"channel": "nightly"}"#);
        let (code, stdout, stderr) = stage.run(&["frontend", "replay", "mockerfile", case]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
    let (code, _, stderr) = stage.run(&["frontend", "replay", "nobody", "case"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: frontend `nobody` not found"), "{stderr}");
}

#[test]
fn a_frontend_that_is_none_fails_the_conformance_kit() {
    let stage = Stage::new();
    let conform = ["frontend", "conform", "/bin/true", "Mockerfile.yaml"];
    let (code, table, stderr) = stage.run(&conform);
    assert_eq!(code, 1, "{stderr}");
    assert!(table.starts_with("FAIL  builds"), "{table}");
    assert!(stderr.contains("checks failed"), "{stderr}");
    let (code, json, _) = stage.run(&[&conform[..], &["--format=json"]].concat());
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["checks"][0]["check"], "builds");
    let (code, _, stderr) = stage.run(&["frontend", "conform", "/bin/true"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("name a file or a directory of samples after it"), "{stderr}");
}

#[test]
fn a_language_that_is_linked_in_passes_the_conformance_kit() {
    let stage = Stage::new();
    let (code, table, stderr) = stage.run(&["frontend", "conform", "mockerfile"]);
    assert_eq!(code, 0, "{table}{stderr}");
}

/// A `dev --watch` that is ended on drop, and the lines it writes.
struct Watching {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(stage: &Stage, words: &[&str]) -> Self {
        let mut command = stage.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    sender.send(line).ok();
                }
            });
        }
        Self { child, lines }
    }

    /// Waits for a line with this in it.
    fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(20)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("nothing says {text:?}: {before:#?}"),
            }
        }
    }

    /// Asks it to end, and says how it did.
    fn end(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_is_watched_is_shown_whole_then_as_what_changed() {
    let stage = Stage::new();
    let words = ["frontend", "dev", "--watch", "--frontend=mockerfile", "Mockerfile.yaml"];
    let watching = Watching::start(&stage, &words);
    watching.says("run /bin/sh -c make");
    watching.says("watching Mockerfile.yaml");
    stage.write("Mockerfile.yaml", &FILE.replace("make", "make -j2"));
    let change = watching.says("make -j2");
    assert!(change.contains("make ->") || change.contains("command"), "{change}");
    stage.write("Mockerfile.yaml", &FILE.replace("from", "form"));
    watching.says("unknown key `form`");
    stage.write("Mockerfile.yaml", &FILE.replace("make", "make -j2"));
    watching.says("Mockerfile.yaml: nothing changed");
    assert_eq!(watching.end(), Some(0));
}

/// A project whose cargo is a script: it counts its builds and makes a copy of `frontend`.
fn scripted_project(stage: &Stage) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let script = r#"#!/bin/sh
case $1 in
metadata) cat metadata.json ;;
build) echo built >> ../builds
  if grep -q slow src/main.rs; then sleep 600 & echo $! > ../child; wait; fi
  echo '{"target":{"name":"lang"},"executable":"/bin/true"}' ;;
esac
"#;
    let project = stage.path("project");
    stage.write("cargo", script);
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(stage.path("cargo"), executable).unwrap();
    stage.write("project/Cargo.toml", "");
    stage.write("project/src/main.rs", "quick");
    let metadata = serde_json::json!({"packages": [{
        "name": "lang", "version": "0.1.0",
        "manifest_path": project.join("Cargo.toml"),
        "targets": [{"name": "lang", "kind": ["bin"]}],
    }]});
    stage.write("project/metadata.json", &metadata.to_string());
    project
}

fn is_running(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for something to become true.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_save_of_the_frontend_builds_it_again_and_no_child_is_left() {
    let stage = Stage::new();
    let project = scripted_project(&stage);
    let mut command = stage.command(&["frontend", "dev", "-w", "--frontend"]);
    command.arg(&project).arg("Mockerfile.yaml").env("CARGO", stage.path("cargo"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let builds = || std::fs::read_to_string(stage.path("builds")).unwrap_or_default();
    wait_until("the first build", || builds() == "built\n");
    // Saved until it is seen: the watch may only begin now.
    wait_until("the second build", || {
        if builds() == "built\n" {
            stage.write("project/src/main.rs", "slow");
            std::thread::sleep(Duration::from_millis(200));
        }
        builds() != "built\n"
    });
    let sleeper = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let place = stage.path("child");
    wait_until("a child of cargo", || !sleeper(&place).is_empty());
    let first = sleeper(&place);
    assert!(is_running(&first));
    // What is under way is given up for what was saved since.
    stage.write("project/src/main.rs", "slow again");
    wait_until("another child of cargo", || sleeper(&place) != first);
    wait_until("the first child is gone", || !is_running(&first));
    let second = sleeper(&place);
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    wait_until("the second child is gone", || !is_running(&second));
}
