//! The first hour of somebody who makes a build language: a project, its tests, its image, a build.
//!
//! Cargo compiles the SDK once more here, into a directory under `target` that stays, so that the
//! next run only compiles what has changed. Nothing is downloaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::{Kiln, Outcome, binaries, run, without_cargo};

/// The first time, all dependencies are compiled.
const LIMIT: Duration = Duration::from_secs(900);

/// What somebody types, one command after the other, and how long each takes.
struct Newcomer {
    kiln: Kiln,
    times: Vec<(String, Duration)>,
}

impl Newcomer {
    fn new() -> Self {
        Self { kiln: Kiln::new().within(LIMIT), times: Vec::new() }
    }

    fn project(&self) -> PathBuf {
        self.kiln.path("toml-lang")
    }

    /// A command as it is typed in `directory`, with the tester's Rust.
    fn types(&mut self, directory: &Path, program: &str, words: &[&str]) -> Outcome {
        let mut command = match program {
            "kiln" => self.kiln.command(words),
            program => {
                let mut command = Command::new(program);
                command.args(words);
                command
            }
        };
        without_cargo(&mut command);
        command
            .current_dir(directory)
            .env("CARGO", env!("CARGO"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", binaries().cache().join("newcomer"))
            // Nobody debugs what is compiled here; it shall not fill the disk.
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUSTFLAGS");
        // Rust and its crates are the tester's, the state is not.
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, place) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if let (None, Some(home)) = (std::env::var_os(name), std::env::var_os("HOME")) {
                command.env(name, Path::new(&home).join(place));
            }
        }
        let began = Instant::now();
        let outcome = run(command, b"", LIMIT);
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let line = [&[&*name], words].concat().join(" ");
        self.times.push((line, began.elapsed()));
        outcome
    }

    /// Every command of the guide's block was typed, but for flags that spare a second compilation.
    fn typed_what_the_guide_says(&self) {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/sdk/README.md");
        let readme = std::fs::read_to_string(readme).unwrap().replace("\\\n ", "");
        let block = readme.split("<!-- newcomer -->\n```sh\n").nth(1).expect("a newcomer's block");
        let block = block.split("```").next().unwrap_or_default();
        let commands = block.lines().filter(|line| !line.starts_with("cd "));
        let words = |line: &str| -> Vec<String> {
            line.replace("--opt ", "--opt=")
                .replace("--output ", "--output=")
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        for command in commands {
            let wanted = words(command);
            let typed = self.times.iter().any(|(line, _)| {
                let line = words(line);
                line.starts_with(&wanted[..wanted.len().min(3)])
                    && wanted.iter().all(|word| line.contains(word))
            });
            assert!(typed, "nobody typed `{command}`");
        }
    }

    /// Says how long everything took.
    fn report(&self) {
        for (line, time) in &self.times {
            eprintln!("newcomer: {:6.2} s  {line}", time.as_secs_f64());
        }
    }
}

#[test]
fn a_new_language_is_tested_packed_and_built_with() {
    let mut newcomer = Newcomer::new();
    let home = newcomer.kiln.home().to_owned();
    let said = newcomer.types(&home, "kiln", &["frontend", "new", "toml-lang"]).succeeds();
    assert!(said.text().contains("cd toml-lang"), "{said}");
    let project = newcomer.project();

    let tested = newcomer.types(&project, env!("CARGO"), &["test"]).succeeds();
    assert!(tested.text().contains("the_sample_is_built_as_it_was ... ok"), "{tested}");
    assert!(tested.text().contains("the_committed_schema_is_current ... ok"), "{tested}");
    let conforms = newcomer.types(&project, "kiln", &["frontend", "test"]).succeeds();
    assert!(conforms.text().contains(" 0 failed"), "{conforms}");

    // A release would compile everything once more.
    let packed =
        newcomer.types(&project, "kiln", &["frontend", "pack", "--profile=dev"]).succeeds();
    assert!(packed.text().starts_with("localhost/toml-lang:0.1.0@sha256:"), "{packed}");
    let build = [
        "build",
        "--frontend=gateway.v0",
        "--opt=source=localhost/toml-lang:0.1.0",
        "--opt=filename=toml-lang.toml",
        "samples/hello",
        "--output=type=local,dest=out",
    ];
    newcomer.types(&project, "kiln", &build).succeeds();
    let greeting = std::fs::read_to_string(project.join("out/etc/greeting")).unwrap();
    assert_eq!(greeting, "Hello from the build context.\n");

    let image = ["frontend", "conform", "localhost/toml-lang:0.1.0", "samples"];
    let examined = newcomer.types(&project, "kiln", &image).succeeds();
    assert!(examined.stderr.contains("without /proc"), "{examined}");
    newcomer.report();
    newcomer.typed_what_the_guide_says();
}
