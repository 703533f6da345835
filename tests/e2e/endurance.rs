//! Many builds, one after the other, on a small share of the disk: what the daemon takes of the disk and
//! of memory, and what it holds of the machine, does not grow.
//!
//! Each build makes something that was never made before; some fail, and some are repeated. How many there
//! are is said by `KILN_TEST_BUILDS`. All the while the disk is measured, and a line is printed now and then.
//! Whether memory is flat shows only in a run of [`LONG`] builds or more, of which 1,000 take a quarter of an
//! hour.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Image, ImageConfig, Outcome, Project, Registry, Watched, WebServer};

use super::crashes::on_disk;
use super::dockerfile::repository;

/// How many builds there are if nobody says.
const FEW: usize = 40;
/// How many builds show whether memory is flat.
const LONG: usize = 400;
/// From this build on it is to be flat, if there are so many, and nothing more is to be held.
const WARM: usize = 200;
/// How many builds lie between two lines of the report.
const STEP: usize = 10;

/// What the daemon may take of the disk (`maxUsedSpace`): that is, all of its state directory, at every moment.
const CAP: u64 = 64 << 20;
/// What a step may write on a machine on which nobody else gets a turn meanwhile: a step announces nothing, so
/// the daemon has to be scheduled to see it.
const UNSEEN: u64 = 2 << 20;
/// The disk it is on, in mebibytes: large enough that nothing but the bound limits it.
const DISK: u64 = 256;
/// By how much memory may differ, after any of these, from its mean in the first [`BASIS`] of them, in percent.
const FLAT: u64 = 5;
/// One sample alone may be of a moment in which much is free and not given back yet.
const BASIS: usize = 100;
/// The progress of a build that has ended is kept for ten seconds, and so are idle threads.
const AFTER: Duration = Duration::from_secs(40);

/// How a build ends.
enum End {
    Well,
    /// As the one before, and without work.
    Again,
    /// With these words.
    Badly(&'static str),
}

/// A kind of build.
struct Kind {
    name: &'static str,
    /// A Dockerfile. `BASE` is an image with a shell, `PULLED` one that is new, `WEB` a server with a new file
    /// `/file` and a repository with a new commit, `%` the number of the build.
    dockerfile: &'static str,
    output: &'static str,
    end: End,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "layers into an OCI archive",
        dockerfile: "FROM BASE
COPY file /
RUN head -c 3000000 /dev/urandom > /%
RUN echo % > /number
",
        output: "type=oci,name=e2e.test/image:1",
        end: End::Well,
    },
    Kind {
        name: "the same again",
        dockerfile: "",
        output: "type=oci,name=e2e.test/image:1",
        end: End::Again,
    },
    Kind {
        name: "a file of the web into a directory",
        dockerfile: "FROM scratch
ADD WEB/file /
COPY file /from-context
",
        output: "type=local",
        end: End::Well,
    },
    Kind {
        name: "a step that fails",
        dockerfile: "FROM BASE
RUN head -c 2000000 /dev/urandom > /% && echo half
RUN head -c 1000000 /dev/urandom > /half; exit 3
",
        output: "",
        end: End::Badly("exit code: 3"),
    },
    Kind {
        name: "a cache mount",
        dockerfile: "FROM BASE
RUN --mount=type=cache,target=/cache rm -f /cache/*; head -c 1000000 /dev/urandom > /cache/% && cp /cache/% /
",
        output: "",
        end: End::Well,
    },
    Kind {
        name: "a repository",
        dockerfile: "FROM BASE
ADD WEB/repository.git#main /source
RUN wc -c /source/sub/file > /size
",
        output: "type=tar",
        end: End::Well,
    },
    Kind {
        name: "a mistake in the file",
        dockerfile: "FROM BASE
RUNN echo %
",
        output: "",
        end: End::Badly("RUNN"),
    },
    Kind {
        name: "stages, one without a network",
        dockerfile: "FROM BASE AS one
RUN --network=none head -c 2000000 /dev/urandom > /one-%
FROM BASE AS two
RUN head -c 1000000 /dev/urandom > /two-%
FROM scratch
COPY --from=one /one-% /
COPY --from=two /two-% /
",
        output: "type=docker,name=e2e.test/image:%",
        end: End::Well,
    },
    Kind {
        name: "an image that is pulled, into the store",
        dockerfile: "FROM PULLED
COPY file /
",
        output: "type=image,name=e2e.test/image:1",
        end: End::Well,
    },
    Kind {
        name: "a source that is missing",
        dockerfile: "FROM BASE
RUN head -c 1000000 /dev/urandom > /%
ADD WEB/missing-% /
",
        output: "",
        end: End::Badly("404"),
    },
];

/// What builds find, and the daemon.
struct Scene {
    registry: Registry,
    web: WebServer,
    base: String,
    project: Project,
    watched: Watched,
}

impl Scene {
    fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
        let base = Image::busybox(config).push(&registry, "base:1");
        let lines =
            format!("maxUsedSpace = \"{CAP}\"\n[history]\nmaxAge = \"1s\"\nmaxEntries = 20\n");
        Some(Self {
            registry,
            web: WebServer::start(),
            base,
            project: Project::new(&[]),
            watched: Watched::configured_on(&[], &lines, DISK),
        })
    }

    /// The build of this number.
    fn build(&self, n: usize) {
        let kind = &KINDS[(n - 1) % KINDS.len()];
        if !matches!(kind.end, End::Again) && self.prepare(kind, n).is_none() {
            return;
        }
        let build = self.watched.client.build().frontend("dockerfile.v0").of(&self.project);
        let out = tempfile::tempdir().unwrap();
        let place = match kind.output {
            "type=local" => out.path().to_owned(),
            _ => out.path().join("archive"),
        };
        let output = kind.output.replace('%', &n.to_string());
        let outcome = match kind.output {
            "" => build.run(),
            "type=image,name=e2e.test/image:1" => build.flag(format!("--output={output}")).run(),
            _ => build.output(&output, &place).run(),
        };
        check(kind, n, outcome);
    }

    /// Makes what is new for the build of this number; `None`, and aloud, where it cannot be.
    fn prepare(&self, kind: &Kind, n: usize) -> Option<()> {
        self.project.write("file", noise(n, 1 << 20));
        let mut dockerfile = kind.dockerfile.replace("BASE", &self.base);
        if dockerfile.contains("/file /\nCOPY") {
            self.web.serve("/file", noise(n + 1_000_000, 2 << 20));
        }
        if dockerfile.contains("repository.git") {
            repository(&self.web, &n.to_string().repeat(5_000))?;
        }
        if dockerfile.contains("PULLED") {
            let layer = noise(n + 2_000_000, 2 << 20);
            let image = Image::empty(ImageConfig::default());
            let image = image.layer(tar(&[Entry::File("pulled", 0o644, 0, &layer)]));
            let name = image.push(&self.registry, &format!("pulled:{n}"));
            dockerfile = dockerfile.replace("PULLED", &name);
        }
        let dockerfile = dockerfile.replace("WEB", &self.web.url("")).replace('%', &n.to_string());
        self.project.write("Dockerfile", dockerfile);
        Some(())
    }

    fn sample(&self) -> Sample {
        let process =
            Path::new("/proc").join(self.watched.daemon.id().as_raw_nonzero().to_string());
        let status = fs::read_to_string(process.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        Sample {
            disk: self
                .watched
                .daemon
                .disk()
                .map_or_else(|| on_disk(&self.watched.daemon.root()), kiln_tests::Disk::used),
            resident: number("VmRSS:") << 10,
            threads: number("Threads:"),
            descriptors: fs::read_dir(process.join("fd")).unwrap().count(),
        }
    }
}

/// What the daemon takes and holds at a time.
struct Sample {
    /// Bytes of its state directory.
    disk: u64,
    /// Bytes of memory.
    resident: u64,
    threads: u64,
    descriptors: usize,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { disk, resident, threads, descriptors } = self;
        let (disk, resident) = (disk >> 10, resident >> 10);
        write!(
            f,
            "disk {disk} KiB, memory {resident} KiB, {threads} threads, {descriptors} descriptors"
        )
    }
}

#[track_caller]
fn check(kind: &Kind, n: usize, outcome: Outcome) {
    match kind.end {
        End::Well => drop(outcome.succeeds()),
        End::Badly(words) => drop(outcome.fails().says(&[words])),
        // What was used last is the last to be collected.
        End::Again => {
            let outcome = outcome.succeeds();
            assert_eq!(outcome.worked(), [""; 0], "build {n}, {}: {outcome}", kind.name);
        }
    }
}

/// Bytes that look like nothing else, and are the same for the same number.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// The paths of what is in a directory.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn many_builds_keep_to_their_share_of_the_disk_and_leave_nothing() {
    let builds = builds();
    let warm = WARM.min(builds / 2);
    let Some(scene) = Scene::begin() else { return };
    let begun = Instant::now();
    // Also while builds run, but only on a disk of its own: what is counted file by file while files come and
    // go is no sum of any moment.
    let sampled = scene.watched.daemon.disk().map(kiln_tests::Disk::sampled);
    let (mut most, mut memory, mut before) = (0, Vec::new(), None);
    for n in 1..=builds {
        scene.build(n);
        let sample = scene.sample();
        let disk = sampled.as_ref().map_or(0, kiln_tests::Sampled::most).max(sample.disk);
        most = most.max(disk);
        assert!(disk <= CAP + UNSEEN, "build {n}: {sample}, {} KiB while it ran", disk >> 10);
        if n % STEP == 0 {
            report(&format!("{n} builds, {:.0?}: {sample}", begun.elapsed()));
        }
        if n >= warm {
            memory.push(sample.resident);
        }
        if n == warm {
            before = Some((scene.watched.footprint(), sample));
        }
    }
    drop(sampled);
    let (footprint, then) = before.unwrap();
    report(&format!("the disk, at most: {} KiB", most >> 10));
    if builds >= LONG {
        let basis = memory.iter().take(BASIS).sum::<u64>() / BASIS as u64;
        let flat = basis * (100 - FLAT) / 100..=basis * (100 + FLAT) / 100;
        let other = memory.iter().find(|bytes| !flat.contains(bytes));
        assert!(other.is_none(), "memory: {other:?} bytes, {basis} bytes in the mean");
    }
    scene.watched.is_back_to(&footprint, AFTER);
    until_it_holds_no_more(&scene, &then);
    let root = scene.watched.daemon.root();
    for place in ["ingest", "trash", "mnt"].map(|name| root.join(name)) {
        assert_eq!(entries(&place), [""; 0].map(PathBuf::from));
    }
    assert_eq!(entries(&scene.watched.daemon.temporary()), [""; 0].map(PathBuf::from));
    let (root, cgroup) = (scene.watched.daemon.root(), scene.watched.cgroup().to_owned());
    let Watched { daemon, .. } = scene.watched;
    daemon.stop().succeeds();
    assert_eq!(Watched::remains(&root, &cgroup), [""; 0]);
}

/// How many builds there are.
#[expect(clippy::disallowed_methods, reason = "this is for who runs the test")]
fn builds() -> usize {
    std::env::var("KILN_TEST_BUILDS").map_or(FEW, |text| text.parse().unwrap())
}

/// Threads that are idle end after a while.
#[track_caller]
fn until_it_holds_no_more(scene: &Scene, then: &Sample) {
    let deadline = Instant::now() + AFTER;
    loop {
        let now = scene.sample();
        if now.descriptors <= then.descriptors && now.threads <= then.threads {
            return report(&format!("at rest: {now}"));
        }
        assert!(Instant::now() < deadline, "{then}, then {now}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Says something to who asked for more than passing or failing.
#[expect(clippy::print_stdout, reason = "hidden unless asked for")]
fn report(line: &str) {
    println!("{line}");
}
