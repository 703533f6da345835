//! A disk that is full: builds fail with a word, and what is there can be removed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Kiln, Project, is_root, run, skip};
use tempfile::TempDir;

/// A small disk in memory; unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=40m", "kiln-test"]).arg(directory.path());
        if !is_root() || !run(mount, b"", Duration::from_secs(5)).status.success() {
            skip("root, and a file system of its own");
            return None;
        }
        Some(Self(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
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

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(self.0.path());
        run(umount, b"", Duration::from_secs(5));
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

fn free(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize
}

#[test]
fn a_full_disk_is_named_and_pruned_and_then_used_as_before() {
    let Some(disk) = SmallDisk::new() else { return };
    let daemon = kiln_tests::Kilnd::with(&["--root", disk.path("state").to_str().unwrap()]);
    let client = daemon.client();
    build(&client, &project("one", 3)).succeeds();
    build(&client, &project("two", 3)).succeeds();
    disk.fill();
    let failed = build(&client, &project("three", 3)).fails();
    failed.says(&["no space left on"]);
    client.run(&["prune"]).succeeds();
    client.run(&["prune", "--all"]).succeeds();
    assert_eq!(client.usage().len(), 0);
    assert!(free(disk.0.path()) > 4 << 20, "{}", free(disk.0.path()));
    // It goes on as if nothing had happened, and remembers what it builds now.
    build(&client, &project("four", 3)).succeeds();
    let again = build(&client, &project("four", 3)).succeeds();
    assert!(again.stderr.contains("CACHED"), "{again}");

    // Filled up once more, it is stopped, and another one starts on the full disk.
    disk.fill();
    daemon.stop().succeeds();
    let daemon = kiln_tests::Kilnd::with(&["--root", disk.path("state").to_str().unwrap()]);
    let client = daemon.client();
    client.run(&["prune", "--all"]).succeeds();
    fs::remove_file(disk.path("filler")).unwrap();
    build(&client, &project("five", 3)).succeeds();
}
