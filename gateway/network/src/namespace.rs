//! A network namespace that is there as long as its file is open.
//!
//! It has no name in the file system, so nothing of it is left behind, whatever becomes of the daemon:
//! the kernel removes it, with its links, once the file is closed and its processes have ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::netlink::{Socket, Topic};
use crate::{links, sys};

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// Makes one with its loopback up, and moves the calling thread there: it must not be one that
    /// has other work.
    pub(crate) fn enter_new() -> io::Result<(Self, Socket)> {
        sys::unshare_network()?;
        let file = File::open("/proc/thread-self/ns/net")?;
        // As others see this process, who need not have the same numbers for it.
        let process = std::fs::read_link("/proc/self")?;
        let path = Path::new("/proc").join(process).join("fd").join(file.as_raw_fd().to_string());
        let mut socket = Socket::open(Topic::Links)?;
        links::loopback_up(&mut socket)?;
        Ok((Self { file, path }, socket))
    }

    /// Makes one, on a thread that is for this alone.
    pub(crate) async fn new() -> io::Result<Self> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("kiln-netns".to_owned()).spawn(move || {
            answer.send(Self::enter_new().map(|(namespace, _)| namespace)).ok();
        })?;
        answered.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// Its file, for who enters it while this is there.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
