//! A registry on a free port: Debian's `docker-registry`, with its content in a directory that goes
//! away with it.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running registry; ended on drop.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Registry {
    /// Starts a registry; `None`, and aloud, without the programs that it and its images need.
    ///
    /// # Panics
    ///
    /// If it does not come up within ten seconds.
    pub fn start() -> Option<Self> {
        for program in ["docker-registry", "skopeo", "busybox"] {
            if !crate::has_program(program) {
                crate::skip(program);
                return None;
            }
        }
        // Two tests may be given the same port if one asks before the other's registry listens.
        let started = (0..5).find_map(|_| Self::try_start());
        Some(started.expect("docker-registry does not come up"))
    }

    fn try_start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        drop(listener);
        let directory = tempfile::tempdir().expect("failed to make a directory");
        let config = directory.path().join("config.yml");
        std::fs::write(&config, configuration(directory.path(), port)).expect("failed to write");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("docker-registry can be started");
        let mut registry = Self { process, port, directory };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if registry.process.try_wait().is_ok_and(|status| status.is_some()) {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Host and port, as they stand in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The reference of an image here, such as `library/ubuntu:22.04`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Where its content lies.
    pub fn content(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it: who asks from now on finds nobody.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

fn configuration(directory: &Path, port: u16) -> String {
    let mut text = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n".to_owned();
    let storage = directory.join("storage");
    // Writing to a string cannot fail.
    writeln!(text, "storage: {{filesystem: {{rootdirectory: {}}}}}", storage.display()).ok();
    writeln!(text, "http: {{addr: '127.0.0.1:{port}'}}").ok();
    text
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}
