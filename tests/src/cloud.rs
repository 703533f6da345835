//! Servers that stand for clouds: moto for Amazon's S3, Azurite for Azure's blob storage.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kiln::SEARCH_PATH;

/// Python and Node take a while to start, and longer when much else is tested.
const START: Duration = Duration::from_secs(60);

/// A server in a process of its own; ended on drop.
#[derive(Debug)]
struct Server {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    fn start(program: &str, command: impl Fn(&mut Command, u16, &Path)) -> Option<Self> {
        let Some(path) = find(program) else {
            crate::skip(program);
            return None;
        };
        // Two tests may be given the same port if one asks before the other's server listens.
        let started = (0..3).find_map(|_| Self::try_start(&path, &command));
        Some(started.unwrap_or_else(|| panic!("{program} does not come up")))
    }

    fn try_start(path: &Path, prepare: &impl Fn(&mut Command, u16, &Path)) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        drop(listener);
        let directory = tempfile::tempdir().expect("failed to make a directory");
        let mut command = Command::new(path);
        prepare(&mut command, port, directory.path());
        command.current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("a program that was found can be started");
        let mut server = Self { process, port, _directory: directory };
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if server.process.try_wait().is_ok_and(|status| status.is_some()) {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Sends a request without a body; the whole answer.
    fn ask(&self, method: &str, path: &str) -> String {
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n",
                self.port
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        });
        asked.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

/// A program, wherever the tester has it.
#[expect(clippy::disallowed_methods, reason = "the tester's programs are where the tester says")]
fn find(program: &str) -> Option<PathBuf> {
    let own = std::env::var("PATH").unwrap_or_default();
    let directories = own.split(':').chain(SEARCH_PATH.split(':'));
    directories.map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// Amazon's S3, by moto, with one bucket.
#[derive(Debug)]
pub struct S3(Server);

impl S3 {
    /// The name of the bucket.
    pub const BUCKET: &'static str = "bucket";

    /// Starts it; `None`, and aloud, without moto.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start() -> Option<Self> {
        let server = Server::start("moto_server", |command, port, _| {
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        })?;
        let made = server.ask("PUT", &format!("/{}", Self::BUCKET));
        assert!(made.contains(" 200 "), "there is no bucket: {made}");
        Some(Self(server))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        let list = self.0.ask("GET", &format!("/{}?list-type=2", Self::BUCKET));
        let keys = list.split("<Key>").skip(1).filter_map(|text| text.split("</Key>").next());
        keys.map(str::to_owned).collect()
    }
}

/// Azure's blob storage, by Azurite, with one account.
#[derive(Debug)]
pub struct Azurite(Server);

impl Azurite {
    /// The name of the account.
    pub const ACCOUNT: &'static str = "testaccount";
    /// Its key.
    pub const KEY: &'static str = "dGhlLXNlY3JldC1rZXktb2YtdGhlLWFjY291bnQ=";

    /// Starts it; `None`, and aloud, without Azurite.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn start() -> Option<Self> {
        let server = Server::start("azurite-blob", |command, port, directory| {
            command.args(["--disableProductStyleUrl", "--skipApiVersionCheck", "--silent"]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            command.arg("--location").arg(directory);
            command.env("AZURITE_ACCOUNTS", format!("{}:{}", Self::ACCOUNT, Self::KEY));
        });
        server.map(Self)
    }

    /// Where the account is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.0.port, Self::ACCOUNT)
    }
}
