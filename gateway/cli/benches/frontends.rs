//! What makers of frontends wait for: `kiln frontend snapshot` and `replay`, from start to end.
//!
//! Processes are started as people and scripts start them; the goal for a snapshot of a shipped
//! language is 30 ms. `cargo bench -p kiln-cli --bench frontends`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILN: &str = env!("CARGO_BIN_EXE_kiln");
const ROUNDS: usize = 50;
const MOCKERFILE: &str = "apiVersion: v1alpha1\nimages:\n- name: demo\n  from: debian:13\n  \
                          package: {install: [ca-certificates, curl, git]}\n  steps: [git --version]\n";
const DOCKERFILE: &str = "FROM debian:13 AS build\nRUN apt-get update\nCOPY . /src\nRUN make -C /src\n\n\
                          FROM debian:13\nCOPY --from=build /src/out /usr/bin/\nCMD [\"out\"]\n";

fn main() {
    let lab = tempfile::tempdir().expect("a directory for the benchmark");
    let directory = lab.path();
    for (name, text) in [("Mockerfile.yaml", MOCKERFILE), ("Dockerfile", DOCKERFILE)] {
        std::fs::write(directory.join(name), text).expect("a build file");
        measure(directory, &["frontend", "snapshot", name]);
        measure(directory, &["frontend", "graph", name, "--format=svg"]);
    }
    let case = r#"{"images": [{"ref": "debian:13", "platform": "linux/amd64", "config": {"os": "linux", "architecture": "amd64"}}]}"#;
    std::fs::write(directory.join("case.json"), case).expect("a case");
    measure(directory, &["frontend", "replay", "dockerfile", "."]);
}

/// Says how long a command takes, at best and in the middle.
fn measure(directory: &Path, words: &[&str]) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let mut command = Command::new(KILN);
            command.args(words).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
            let began = Instant::now();
            let status = command.status().expect("kiln starts");
            assert!(status.success(), "kiln {} failed", words.join(" "));
            began.elapsed()
        })
        .collect();
    times.sort();
    let (best, middle) = (times[0], times[ROUNDS / 2]);
    let line =
        format!("{best:>8.1?} at best, {middle:>8.1?} in the middle  kiln {}\n", words.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).expect("standard output is open");
}
