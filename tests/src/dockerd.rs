//! Docker's daemon, with state and a socket of its own and no network.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::{Outcome, run};
use crate::{has_program, is_root, skip};

/// A running `dockerd`; ended on drop.
#[derive(Debug)]
pub struct Dockerd {
    process: Child,
    directory: TempDir,
}

impl Dockerd {
    /// Starts it; `None`, and aloud, where it does not run.
    ///
    /// # Panics
    ///
    /// If no directory can be made.
    pub fn start() -> Option<Self> {
        if !is_root() || !has_program("dockerd") || !has_program("docker") {
            skip("root, dockerd and docker");
            return None;
        }
        let directory = tempfile::tempdir().expect("failed to make a directory");
        let place = |name: &str| directory.path().join(name).display().to_string();
        let log = std::fs::File::create(place("log")).expect("failed to make a file");
        let mut command = Command::new("dockerd");
        command.arg(format!("--host=unix://{}", place("socket")));
        command.arg(format!("--data-root={}", place("data")));
        command.arg(format!("--exec-root={}", place("exec")));
        command.arg(format!("--pidfile={}", place("pid")));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("dockerd can be started");
        let mut daemon = Self { process, directory };
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if daemon.docker(&["version"], b"").status.success() {
                return Some(daemon);
            }
            if daemon.process.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(daemon.path("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        skip(&format!("a machine on which dockerd starts; here it says: {}", last.join(" | ")));
        None
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the client.
    pub fn docker(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.client();
        command.args(arguments);
        run(command, input, Duration::from_secs(60))
    }

    fn client(&self) -> Command {
        // Debian's own client, which builds with BuildKit by itself; newer ones want buildx for that.
        let debians = Path::new("/usr/bin/docker");
        let mut command = Command::new(if debians.exists() { debians } else { "docker".as_ref() });
        command.arg(format!("--host=unix://{}", self.path("socket").display()));
        command.env("HOME", self.directory.path());
        command
    }

    /// Builds with the BuildKit inside the daemon, which has no network for steps.
    pub fn build(&self, arguments: &[&str], context: &Path) -> Outcome {
        let mut command = self.client();
        command.env("DOCKER_BUILDKIT", "1").args(["build", "--progress=plain", "--network=none"]);
        command.args(arguments).arg(context);
        run(command, b"", Duration::from_secs(120))
    }

    /// Loads an archive.
    #[track_caller]
    pub fn load(&self, archive: &Path) -> Outcome {
        self.docker(&["load", "--input", &archive.display().to_string()], b"").succeeds()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It ends its own children only if it is asked to end.
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.process.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                self.process.kill().ok();
                self.process.wait().ok();
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
