//! A registry on a free port: Debian's `docker-registry`, with its content in a directory that goes
//! away with it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What it was asked, as web servers write it down.
const ACCESS_LOG: &str = "access.log";

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
        let log = File::create(directory.path().join(ACCESS_LOG)).expect("failed to make a file");
        command.arg("serve").arg(&config).stdout(log).stderr(Stdio::null());
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

    /// What it was asked so far, in order: each a method and a path, such as
    /// `GET /v2/app/blobs/sha256:…`.
    ///
    /// # Panics
    ///
    /// If it cannot be asked any more.
    pub fn asked(&self) -> Vec<String> {
        // What was answered is written down a little later; a request of our own shows when.
        let mark = format!("/v2/mark/blobs/sha256:{}", crate::sha256(&self.marks().to_le_bytes()));
        let mut own = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry is there");
        let request = format!("HEAD {mark} HTTP/1.0\r\n\r\n");
        own.write_all(request.as_bytes()).expect("the registry reads");
        own.read_to_end(&mut Vec::new()).expect("the registry answers");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(&mark) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let log = self.log();
        let requests = log.lines().filter_map(|line| line.split('"').nth(1));
        let requests = requests.filter(|request| !request.contains("/v2/mark/"));
        requests.filter_map(|request| Some(request.rsplit_once(' ')?.0.to_owned())).collect()
    }

    /// How often each of these layers was read, in order.
    pub fn reads(&self, layers: &[String]) -> Vec<usize> {
        let asked = self.asked();
        let reads = |layer: &String| {
            let is_read = |request: &&String| {
                request.starts_with("GET /v2/") && request.ends_with(&format!("/blobs/{layer}"))
            };
            asked.iter().filter(is_read).count()
        };
        layers.iter().map(reads).collect()
    }

    /// The digests of the layers of an image here, bottom first.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn layers(&self, reference: &str) -> Vec<String> {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "inspect", "--tls-verify=false"]);
        command.arg(format!("docker://{reference}"));
        // Its settings and logins are the tester's.
        command.env("HOME", self.content()).env_remove("XDG_RUNTIME_DIR");
        let inspected = crate::run(command, b"", Duration::from_secs(60)).succeeds();
        let inspected: serde_json::Value =
            serde_json::from_slice(&inspected.stdout).expect("skopeo writes JSON");
        let layers = inspected["Layers"].as_array().expect("an image has layers");
        layers.iter().filter_map(|layer| Some(layer.as_str()?.to_owned())).collect()
    }

    /// Loses a blob.
    ///
    /// # Panics
    ///
    /// If it has none of this digest.
    pub fn lose(&self, digest: &str) {
        std::fs::remove_dir_all(self.blob(digest)).expect("the registry has the blob");
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.content().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex)
    }

    /// Has something else in place of a blob from now on, as large as that.
    ///
    /// # Panics
    ///
    /// If it has none of this digest.
    pub fn falsify(&self, digest: &str) {
        let path = self.blob(digest).join("data");
        let size = std::fs::metadata(&path).expect("the registry has the blob").len();
        let size = usize::try_from(size).expect("it is small");
        std::fs::write(path, vec![b'x'; size]).expect("failed to write");
    }

    /// Answers nobody any more, and lets everybody wait.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn freeze(&self) {
        let process = rustix::process::Pid::from_child(&self.process);
        let stopped = rustix::process::kill_process(process, rustix::process::Signal::STOP);
        stopped.expect("the registry runs");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.content().join(ACCESS_LOG)).expect("the registry writes it")
    }

    fn marks(&self) -> usize {
        self.log().matches("/v2/mark/").count()
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
    let mut text = "version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\n".to_owned();
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
