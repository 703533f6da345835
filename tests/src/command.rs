//! Programs, run to their end within a time, with all that they wrote.

use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How a program ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its end.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
    line: String,
}

impl Outcome {
    /// Itself, if the program ended well.
    ///
    /// # Panics
    ///
    /// If it did not, showing what it wrote.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Itself, if the program said of its own accord that it failed: exit code 1.
    ///
    /// # Panics
    ///
    /// If it ended well, by a signal, or by a panic.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert_eq!(self.status.code(), Some(1), "{self}");
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// Itself, if the program says that its user ended it: exit code 130.
    ///
    /// # Panics
    ///
    /// If not, with all it said.
    #[track_caller]
    pub fn was_interrupted(self) -> Self {
        assert_eq!(self.status.code(), Some(130), "{self}");
        self
    }

    /// Itself, if each of `texts` stands in its standard error.
    ///
    /// # Panics
    ///
    /// If one does not.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "nothing says {text:?}:\n{self}");
        }
        self
    }

    /// Standard output as text, without the last line break.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, elapsed, line } = self;
        let stdout: String = String::from_utf8_lossy(stdout).chars().take(4000).collect();
        write!(f, "`{line}` ended with {status} after {elapsed:.1?}\n{stderr}\n{stdout}")
    }
}

/// Runs a program that takes at most `limit`.
///
/// # Panics
///
/// If it cannot be started.
#[track_caller]
pub fn run(command: Command, input: &[u8], limit: Duration) -> Outcome {
    start(command, input).wait(limit)
}

/// Starts a program.
///
/// # Panics
///
/// If it cannot be started.
#[track_caller]
pub fn start(mut command: Command, input: &[u8]) -> Running {
    let line = line(&command);
    // A group of its own, so that what hangs can be ended with all its children.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
    let (stdin, input) = (child.stdin.take(), input.to_owned());
    // A program need not read its input.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let stdout = Collector::new(child.stdout.take().expect("standard output is a pipe"));
    let stderr = Collector::new(child.stderr.take().expect("standard error is a pipe"));
    Running { child, stdout, stderr, started, line, ended: false }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Takes in all that a program writes.
#[derive(Debug)]
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = stream.read(&mut buffer)
                && length > 0
            {
                let mut bytes = shared.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, thread: Some(thread) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything, once the other end is closed; what came so far if somebody keeps it open.
    fn all(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let done =
            |thread: &Option<JoinHandle<()>>| thread.as_ref().is_none_or(JoinHandle::is_finished);
        while !done(&self.thread) && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        self.so_far()
    }
}

/// A program that runs; ended with all its children on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Collector,
    stderr: Collector,
    started: Instant,
    line: String,
    ended: bool,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it takes longer than `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.ended = true;
                return Outcome {
                    status,
                    stdout: self.stdout.all(),
                    stderr: String::from_utf8_lossy(&self.stderr.all()).into_owned(),
                    elapsed: self.started.elapsed(),
                    line: std::mem::take(&mut self.line),
                };
            }
            assert!(
                Instant::now() < deadline,
                "`{}` takes longer than {limit:?}:\n{}",
                self.line,
                self.errors_so_far()
            );
            thread::sleep(LOOK);
        }
    }

    /// Waits until its standard error contains `text`.
    ///
    /// # Panics
    ///
    /// If it ends before, or takes longer than `limit`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.errors_so_far().contains(text) {
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "`{}` ({ended:?}) did not say {text:?}:\n{}",
                self.line,
                self.errors_so_far()
            );
            thread::sleep(LOOK);
        }
    }

    /// What stands in its standard error now.
    pub fn errors_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the process alone, not to its children.
    ///
    /// # Panics
    ///
    /// If it ended already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the process runs");
    }

    /// Kills the process alone, as a machine short of memory does, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If it had ended by itself.
    #[track_caller]
    pub fn kill(mut self) -> Outcome {
        assert!(
            self.child.try_wait().expect("a child can be waited for").is_none(),
            "`{}` ended before it could be killed:\n{}",
            self.line,
            self.errors_so_far()
        );
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(9));
        self.ended = true;
        Outcome {
            status,
            stdout: self.stdout.so_far(),
            stderr: self.errors_so_far(),
            elapsed: self.started.elapsed(),
            line: std::mem::take(&mut self.line),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            kill_process_group(self.id(), Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}
