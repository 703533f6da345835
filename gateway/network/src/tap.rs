//! A network without rights over that of the machine: a program of the user's, pasta or slirp4netns,
//! carries what a namespace sends and opens the connections itself.
//!
//! There is one per namespace, started ahead like these, and ended with them or with the daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kiln_executor::{HostProcess, HostRunning, Spawner, Stdio, spawn_host};
use rustix::mount::UnmountFlags;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::links;
use crate::namespace::Namespace;
use crate::netlink::Socket;
use crate::networks::{NetworkError, NetworkOptions, Step};
use crate::pool::{Filler, Pool};

/// How long a program may take until the namespace has a route.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often that is looked for.
const PAUSE: Duration = Duration::from_millis(2);
/// Where programs are, if the daemon does not know.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program and what it is given before and after the file of the namespace. None lets the namespace
/// reach the loopback of the machine, nor opens ports there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    name: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

/// The programs, the one that is tried first before the other.
const PROGRAMS: &[Program] = &[
    Program {
        name: "slirp4netns",
        before: &["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"],
        after: &["eth0"],
    },
    Program {
        name: "pasta",
        before: &[
            "--foreground",
            "--quiet",
            "--config-net",
            "--no-map-gw",
            "--tcp-ports=none",
            "--udp-ports=none",
            "--tcp-ns=none",
            "--udp-ns=none",
            "--ns-ifname=eth0",
            "--no-netns-quit",
            "--netns-only",
            "--netns",
        ],
        after: &[],
    },
];

/// Namespaces with a program each.
#[derive(Debug)]
pub(crate) struct Tap {
    pool: Pool<TapConnection, NetworkError>,
    /// The name of the program.
    pub(crate) program: &'static str,
}

/// A namespace, and the program that carries what it sends.
#[derive(Debug)]
pub(crate) struct TapConnection {
    /// Ends the program when it is dropped, before the namespace goes.
    _process: HostRunning,
    pub(crate) namespace: Namespace,
}

impl Tap {
    /// Finds a program with which it works.
    pub(crate) fn open(options: &NetworkOptions, spawner: &Spawner) -> Result<Self, NetworkError> {
        let path = options.environment.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, value)| value);
        let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        let message = format!("neither {} is installed", names.join(" nor "));
        let mut result = Err(NetworkError::Conflict { message });
        for (program, file) in PROGRAMS.iter().filter_map(|program| find(*program, path)) {
            let state = options.state.clone();
            let (spawner, runtime) = (spawner.clone(), Handle::current());
            let maker = Maker { program, file, state, spawner, runtime, made: 0 };
            result = Self::start(maker, options.pool_size);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn start(mut maker: Maker, pool_size: Option<usize>) -> Result<Self, NetworkError> {
        let program = maker.program.name;
        let size = pool_size.filter(|size| *size > 0).unwrap_or(crate::networks::POOL_SIZE);
        let (pool, filler) = Pool::new(size);
        let (answer, first) = mpsc::channel();
        thread::Builder::new()
            .name("kiln-tap".to_owned())
            .spawn(move || {
                let first = maker.make();
                let works = first.as_ref().map(drop).map_err(ToString::to_string);
                let works = works.map_err(|message| NetworkError::Conflict { message });
                let goes_on = works.is_ok();
                answer.send(works).ok();
                if goes_on && filler.blocking_send(first).is_ok() {
                    maker.fill(&filler);
                }
            })
            .step(|| "start a thread".into())?;
        first.recv().unwrap_or(Err(NetworkError::Closed))?;
        Ok(Self { pool, program })
    }

    /// A namespace that no one has used.
    pub(crate) async fn connect(&self) -> Result<TapConnection, NetworkError> {
        self.pool.take().await.unwrap_or(Err(NetworkError::Closed))
    }

    /// Ends the programs that are not in use.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// The file of a program, by the search path.
fn find(program: Program, path: &str) -> Option<(Program, PathBuf)> {
    let mut files = path.split(':').map(|directory| Path::new(directory).join(program.name));
    let file = files.find(|file| file.is_absolute() && file.is_file())?;
    let works = program.name != "pasta" || is_new_enough(&version(&file));
    works.then_some((program, file))
}

/// What a program says about itself.
fn version(file: &Path) -> String {
    let output = std::process::Command::new(file).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Whether a pasta is of 2024 or later; those of before repeat what a server sends that closes at
/// once.
fn is_new_enough(version: &str) -> bool {
    let digits = version.replace('_', "");
    let mut numbers = digits.split(|letter: char| !letter.is_ascii_digit());
    let date = numbers.find(|number| number.len() == 8).unwrap_or_default();
    date.parse().is_ok_and(|date: u32| date >= 20_240_101)
}

/// The thread that makes namespaces. It is in the one that it made last.
struct Maker {
    program: Program,
    file: PathBuf,
    state: PathBuf,
    spawner: Spawner,
    runtime: Handle,
    made: u64,
}

impl Maker {
    fn fill(mut self, filler: &Filler<TapConnection, NetworkError>) {
        while filler.blocking_send(self.make()).is_ok() {}
    }

    fn make(&mut self) -> Result<TapConnection, NetworkError> {
        let (namespace, mut inside) =
            Namespace::enter_new().step(|| "make a network namespace".into())?;
        self.made += 1;
        fs::create_dir_all(&self.state).step(|| format!("make {}", self.state.display()))?;
        let place = Place::mount(&namespace, self.state.join(format!("netns-{}", self.made)))?;
        let mut process = self.spawn(&place)?;
        self.wait(&mut process, &mut inside)?;
        Ok(TapConnection { _process: process, namespace })
    }

    fn spawn(&self, place: &Place) -> Result<HostRunning, NetworkError> {
        let Program { name, before, after } = self.program;
        let file = [self.file.display().to_string()];
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let namespace = [place.0.display().to_string()];
        let args = file.into_iter().chain(words(before)).chain(namespace).chain(words(after));
        let process = HostProcess { args: args.collect(), env: Vec::new(), cwd: String::new() };
        let stdio = Stdio::null().step(|| format!("start {name}"))?;
        let started = self.runtime.block_on(spawn_host(&self.spawner, process, stdio));
        started.map_err(|error| NetworkError::Conflict { message: format!("{name}: {error}") })
    }

    /// Waits until the program has connected the namespace.
    fn wait(&self, process: &mut HostRunning, inside: &mut Socket) -> Result<(), NetworkError> {
        let name = self.program.name;
        let begin = Instant::now();
        while !links::has_default_route(inside).step(|| "list the routes".into())? {
            let ended =
                self.runtime.block_on(async { timeout(PAUSE, process.wait()).await.is_ok() });
            if ended || begin.elapsed() > TIMEOUT {
                let how = if ended { "ended without doing so" } else { "takes too long" };
                let message = format!("{name}, which is to connect a namespace, {how}");
                return Err(NetworkError::Conflict { message });
            }
        }
        Ok(())
    }
}

/// The file of a namespace at a place of its own, where a program finds it that may not look into the
/// daemon. It is needed only while the program starts.
struct Place(PathBuf);

impl Place {
    fn mount(namespace: &Namespace, place: PathBuf) -> Result<Self, NetworkError> {
        let step = || format!("show a network namespace at {}", place.display());
        drop(File::create(&place).step(step)?);
        let shown = Self(place.clone());
        rustix::mount::mount_bind(namespace.path(), &place).step(step)?;
        Ok(shown)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).ok();
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_search_path() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("slirp4netns"), "").unwrap();
        let path = format!("bin:/nonexistent:{}", scratch.path().display());
        let found: Vec<_> = PROGRAMS.iter().filter_map(|it| find(*it, &path)).collect();
        assert_eq!(found, [(PROGRAMS[0], scratch.path().join("slirp4netns"))]);
    }

    #[test]
    fn a_pasta_that_repeats_data_is_left_alone() {
        for (version, expected) in [
            ("pasta 0.0~git20230309.7c7625d-1\nCopyright Red Hat\n", false),
            ("pasta 2024_05_10.7288448\n", true),
            ("pasta 0.0~git20250503.587980c-2", true),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
