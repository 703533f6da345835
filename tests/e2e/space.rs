//! A disk that is full: builds fail with a word, and what is there can be removed. And one that does not get
//! full, because a bound is kept.

use std::fs::{self, File};
use std::io::Write as _;

use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Disk, Image, ImageConfig, Kiln, Kilnd, Project, Registry};
use tempfile::TempDir;

/// A small disk; unmounted on drop.
struct SmallDisk {
    disk: Disk,
    _directory: TempDir,
}

impl SmallDisk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        Some(Self { disk: Disk::mount(directory.path(), 40)?, _directory: directory })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.disk.path().join(name)
    }

    /// Writes until not a byte is free.
    fn fill(&self) {
        let mut filler =
            File::options().append(true).create(true).open(self.path("filler")).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }
}

/// A project that makes a file of so many megabytes.
fn project(name: &str, megabytes: usize) -> Project {
    let project = Project::new(&[("Dockerfile", &format!("FROM scratch\nCOPY {name} /\n"))]);
    project.write(name, vec![b'x'; megabytes << 20]);
    project
}

fn build(kiln: &Kiln, project: &Project) -> kiln_tests::Outcome {
    kiln.build().frontend("dockerfile.v0").of(project).run()
}

#[test]
fn a_full_disk_is_named_and_pruned_and_then_used_as_before() {
    let Some(disk) = SmallDisk::new() else { return };
    let daemon = Kilnd::with(&["--root", disk.path("state").to_str().unwrap()]);
    let client = daemon.client();
    build(&client, &project("one", 3)).succeeds();
    build(&client, &project("two", 3)).succeeds();
    disk.fill();
    let failed = build(&client, &project("three", 3)).fails();
    failed.says(&["no space left on"]);
    client.run(&["prune"]).succeeds();
    client.run(&["prune", "--all"]).succeeds();
    assert_eq!(client.usage().len(), 0);
    assert!(disk.disk.free() > 4 << 20, "{}", disk.disk.free());
    // It goes on as if nothing had happened, and remembers what it builds now.
    build(&client, &project("four", 3)).succeeds();
    let again = build(&client, &project("four", 3)).succeeds();
    assert!(again.stderr.contains("CACHED"), "{again}");

    // Filled up once more, it is stopped, and another one starts on the full disk.
    disk.fill();
    daemon.stop().succeeds();
    let daemon = Kilnd::with(&["--root", disk.path("state").to_str().unwrap()]);
    let client = daemon.client();
    client.run(&["prune", "--all"]).succeeds();
    fs::remove_file(disk.path("filler")).unwrap();
    build(&client, &project("five", 3)).succeeds();
}

/// What the daemon may take of its disk.
const CAP: u64 = 48 << 20;
/// What a step may write on a machine on which nobody else gets a turn meanwhile: a step announces nothing, so
/// the daemon has to be scheduled to see it.
const UNSEEN: u64 = 2 << 20;

/// So many megabytes that look like nothing else.
fn noise(seed: u64, megabytes: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(megabytes << 20).collect()
}

#[test]
fn a_bound_is_kept_at_every_moment_whatever_builds_write() {
    let Some(registry) = Registry::start() else { return };
    let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
    let base = Image::busybox(config).push(&registry, "base:1");
    let lines = format!("[worker.oci]\nmaxUsedSpace = \"{CAP}\"\n");
    let daemon = Kilnd::configured_on("kilnd", &[], &lines, 256);
    let Some(disk) = daemon.disk() else { return };
    let (client, sampled) = (daemon.client(), disk.sampled());
    let project = Project::new(&[]);
    let mut built = 0;
    for n in 0..12 {
        // What is pulled and unpacked, sent and copied, written by steps, and packed for an image.
        let layer = noise(1000 + n, 3);
        let image = Image::empty(ImageConfig::default());
        let image = image.layer(tar(&[Entry::File("pulled", 0o644, 0, &layer)]));
        let pulled = image.push(&registry, &format!("pulled:{n}"));
        project.write("file", noise(n, 2));
        let dockerfile = format!(
            "FROM {pulled} AS pulled\nFROM {base}\nCOPY --from=pulled /pulled /\nCOPY file /\n\
             RUN head -c 2000000 /dev/urandom > /one\nRUN head -c 1000000 /dev/urandom > /two\n"
        );
        project.write("Dockerfile", dockerfile);
        let build = || client.build().frontend("dockerfile.v0").of(&project);
        let output = format!("--output=type=image,name=e2e.test/space:{n}");
        build().flag(output).run().succeeds();
        // What was used last is the last to go.
        let again = build().run().succeeds();
        assert_eq!(again.worked(), [""; 0], "build {n}: {again}");
        let most = sampled.most();
        assert!(most <= CAP + UNSEEN, "build {n}: {} KiB", most >> 10);
        built += 3 + 2 + 3;
    }
    assert!(built << 20 > CAP, "nothing had to be removed");
    // What is in use stays, also if it is more than the bound; and the bound holds again afterwards.
    let large = "FROM BASE\nRUN head -c 60000000 /dev/urandom > /large && test -s /large\n";
    project.write("Dockerfile", large.replace("BASE", &base));
    client.build().frontend("dockerfile.v0").of(&project).run().succeeds();
    super::crashes::until(|| disk.used() <= CAP, "the bound does not hold again");
}
