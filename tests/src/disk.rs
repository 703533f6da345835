//! A disk of its own for one directory, so that what is used of it and what is free is exactly known.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::run;
use crate::machine::{is_root, skip};

/// How often a disk is looked at.
const SAMPLE: Duration = Duration::from_millis(5);

/// A disk in memory; unmounted on drop.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many mebibytes on a directory that exists; `None`, and aloud, where that is not
    /// allowed.
    pub fn mount(at: &Path, mebibytes: u64) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0700"), "kiln-test"])
            .arg(at);
        if !is_root() || !run(mount, b"", Duration::from_secs(5)).status.success() {
            skip("root, and a file system of its own");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        measure(&self.0).1
    }

    /// How many bytes are used.
    pub fn used(&self) -> u64 {
        measure(&self.0).0
    }

    /// Looks at it every few milliseconds from now on.
    pub fn sampled(&self) -> Sampled {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (path, max, end) = (self.0.clone(), most.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                max.fetch_max(measure(&path).0, Ordering::Relaxed);
                std::thread::sleep(SAMPLE);
            }
        });
        Sampled { most, over, thread: Some(thread) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0);
        run(umount, b"", Duration::from_secs(5));
    }
}

/// A disk that is looked at until this is dropped.
#[derive(Debug)]
pub struct Sampled {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampled {
    /// The most that was used of it at any moment that was looked at, in bytes.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Sampled {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// What is used and what is free, in bytes.
fn measure(path: &Path) -> (u64, u64) {
    let disk = rustix::fs::statvfs(path).expect("a disk that is mounted can be measured");
    ((disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_bavail * disk.f_frsize)
}
