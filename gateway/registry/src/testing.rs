//! Servers for tests, on free ports of this machine: a real registry (Debian's `docker-registry`,
//! with its content in a temporary directory), and one that answers by script, for everything a
//! real server does rarely or never.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use tempfile::TempDir;

/// A running registry; ended on drop.
#[derive(Debug)]
pub struct LocalRegistry {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl LocalRegistry {
    /// Starts a registry, `None` if the program is not installed.
    ///
    /// # Errors
    ///
    /// When it is installed and does not come up within ten seconds.
    pub fn start() -> io::Result<Option<Self>> {
        Self::start_with("")
    }

    /// The same with TLS, given the PEM files of a certificate and its key.
    ///
    /// # Errors
    ///
    /// Those of [`LocalRegistry::start`].
    pub fn start_tls(certificate: &Path, key: &Path) -> io::Result<Option<Self>> {
        let (certificate, key) = (certificate.display(), key.display());
        Self::start_with(&format!(", tls: {{certificate: {certificate}, key: {key}}}"))
    }

    fn start_with(http: &str) -> io::Result<Option<Self>> {
        // Two tests may be given the same port if one asks before the other's registry listens.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let directory = tempfile::tempdir()?;
            let config = directory.path().join("config.yml");
            fs::write(&config, configuration(directory.path(), port, http))?;
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
            let process = match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                process => process?,
            };
            let mut registry = Self { process, port, _directory: directory };
            if registry.is_up()? {
                return Ok(Some(registry));
            }
        }
        Err(io::Error::other("docker-registry did not come up"))
    }

    /// Host and port, as they stand in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn is_up(&mut self) -> io::Result<bool> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

fn configuration(directory: &Path, port: u16, http: &str) -> String {
    let storage = directory.join("storage");
    format!(
        "version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {}}}
  delete: {{enabled: true}}
http: {{addr: '127.0.0.1:{port}'{http}}}
",
        storage.display()
    )
}

impl Drop for LocalRegistry {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

/// A request, as a [`ScriptedServer`] got it.
#[derive(Clone, Debug)]
pub struct ScriptedRequest {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, if it had a length.
    pub body: Vec<u8>,
}

impl ScriptedRequest {
    /// A header by its lower-case name; empty if it was not sent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a [`ScriptedServer`] answers.
#[derive(Clone, Debug, Default)]
pub struct ScriptedAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Option<u64>,
    manner: Manner,
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, Default)]
enum Manner {
    #[default]
    Whole,
    /// Not at all: the connection is closed.
    Cut,
    /// So many bytes of the body, then silence until the client hangs up.
    Stall(usize),
    /// A byte of the body after each pause.
    Drip(Duration),
}

impl ScriptedAnswer {
    /// No answer: the connection is cut.
    pub fn cut() -> Self {
        Self { manner: Manner::Cut, ..Self::default() }
    }

    /// Falls silent after so many bytes of the body.
    #[must_use]
    pub fn stalling_after(self, bytes: usize) -> Self {
        Self { manner: Manner::Stall(bytes), ..self }
    }

    /// Sends one byte of the body at a time, with a pause before each.
    #[must_use]
    pub fn dripping(self, pause: Duration) -> Self {
        Self { manner: Manner::Drip(pause), ..self }
    }

    /// A status and a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Announces another length than the body has.
    #[must_use]
    pub fn announce(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }
}

type Script = dyn Fn(&ScriptedRequest) -> ScriptedAnswer + Send + Sync;

/// A server that answers by script, one request per connection.
///
/// Its thread waits for connections until the test program ends.
#[derive(Clone, Debug)]
pub struct ScriptedServer {
    port: u16,
    requests: Arc<Mutex<Vec<ScriptedRequest>>>,
}

impl ScriptedServer {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub fn start(
        script: impl Fn(&ScriptedRequest) -> ScriptedAnswer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server =
            Self { port: listener.local_addr()?.port(), requests: Arc::new(Mutex::default()) };
        let requests = Arc::clone(&server.requests);
        let script: Arc<Script> = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
                thread::spawn(move || {
                    // A client that hangs up is part of many tests.
                    serve(stream, &*script, &requests).ok();
                });
            }
        });
        Ok(server)
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far: method and target.
    pub fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<ScriptedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    stream: TcpStream,
    script: &Script,
    requests: &Mutex<Vec<ScriptedRequest>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().map_or("", String::as_str).split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<String, String> = lines.iter().skip(1).filter_map(header).collect();
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = ScriptedRequest { method, target, headers, body };
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let answer = script(&request);
    if matches!(answer.manner, Manner::Cut) {
        return Ok(());
    }
    let length = answer.length.unwrap_or(answer.body.len() as u64);
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !(answer.status == 304 || answer.status == 204) {
        head += &format!("Content-Length: {length}\r\n");
    }
    let mut stream = reader.into_inner();
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method != "HEAD" {
        send(&mut stream, &answer)?;
    }
    stream.flush()
}

fn send(stream: &mut TcpStream, answer: &ScriptedAnswer) -> io::Result<()> {
    match answer.manner {
        Manner::Stall(bytes) => {
            stream.write_all(&answer.body[..bytes.min(answer.body.len())])?;
            // Nothing comes from the client any more, but its end.
            stream.read(&mut [0]).map(drop)
        }
        Manner::Drip(pause) => answer.body.chunks(1).try_for_each(|byte| {
            thread::sleep(pause);
            stream.write_all(byte)
        }),
        Manner::Whole | Manner::Cut => stream.write_all(&answer.body),
    }
}
