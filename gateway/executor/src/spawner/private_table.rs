//! A `binfmt_misc` of the builds' own, in a user namespace that processes are moved to.
//!
//! The helper that makes them ends at once; the namespace lives by its descriptor, and the table by
//! that of its mount, which is attached nowhere. Both are kept for as long as the spawner lives, as
//! entries vanish with the mount even while processes run by them.
//!
//! Why the processes are moved there last, when their mounts, devices and network are made: those
//! then belong to the namespace around, as for every other process. Device nodes in the root stay
//! alive or dead as they were, set-user-id programs and file capabilities keep their meaning (the ids
//! are the same), and what is left in a layer is byte by byte what another process would leave. A
//! process that is born in the namespace would have none of this.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use rustix::net::SocketFlags;
use rustix::process::{Pid, WaitOptions};
use serde::{Deserialize, Serialize};

use super::protocol::{Failure, Step, receive, send};
use super::socket_pair;
use crate::container::filesystem;
use crate::emulation::Registration;
use crate::sys;

/// A user namespace whose programs are handed to emulators.
#[derive(Debug)]
pub(super) struct PrivateTable {
    registrations: Vec<Registration>,
    namespace: OwnedFd,
    /// The entries live as long as this.
    _mount: OwnedFd,
}

/// What the helper says.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// Its number in the process namespace that `/proc` shows.
    Number(i32),
    /// Namespace and mount come along.
    Made,
    /// It did not come to that.
    Failed(Failure),
}

impl PrivateTable {
    /// Makes the namespace, its ids and its table.
    pub(super) fn make(registrations: &[Registration]) -> Result<Self, Failure> {
        let (ours, theirs) = socket_pair(SocketFlags::CLOEXEC).step(|| "make a socket".into())?;
        let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
        let Some(helper) =
            sys::clone3(flags, None).step(|| "make a user namespace for emulators".into())?
        else {
            drop(ours);
            let told = match help(&theirs, registrations) {
                Ok(()) => Ok(()),
                Err(failure) => send(&theirs, &Word::Failed(failure), &[]),
            };
            sys::exit_now(i32::from(told.is_err()))
        };
        drop(theirs);
        let made = Self::made(&ours, registrations);
        drop(ours);
        wait(helper);
        made
    }

    /// Whether it is that of these emulators.
    pub(super) fn is_of(&self, registrations: &[Registration]) -> bool {
        self.registrations == registrations
    }

    /// The user namespace.
    pub(super) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// Gives the helper its ids, and takes what it makes.
    fn made(socket: &OwnedFd, registrations: &[Registration]) -> Result<Self, Failure> {
        let step = || "make a table of emulators".to_owned();
        loop {
            let (word, descriptors) = receive::<Word>(socket)
                .and_then(|word| word.ok_or_else(|| io::ErrorKind::BrokenPipe.into()))
                .step(step)?;
            match (word, <[OwnedFd; 2]>::try_from(descriptors)) {
                (Word::Number(number), _) => {
                    map_all(number).step(|| "map the ids of emulated processes".into())?;
                    send(socket, &(), &[]).step(step)?;
                }
                (Word::Made, Ok([namespace, mount])) => {
                    let registrations = registrations.to_vec();
                    return Ok(Self { registrations, namespace, _mount: mount });
                }
                (Word::Failed(failure), _) => return Err(failure),
                (Word::Made, Err(_)) => {
                    return Err(Failure::setup(step(), io::ErrorKind::InvalidData));
                }
            }
        }
    }
}

/// The helper's side, in the new namespaces.
fn help(socket: &OwnedFd, registrations: &[Registration]) -> Result<(), Failure> {
    let step = || "make a table of emulators".to_owned();
    // The spawner may be in a process namespace that `/proc` does not show; there the own number is
    // another one.
    let number = fs::read_link("/proc/self").step(|| "read /proc/self".into())?;
    let number = number.to_str().and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| Failure::setup(step(), io::ErrorKind::InvalidData))?;
    send(socket, &Word::Number(number), &[]).step(step)?;
    if receive::<()>(socket).step(step)?.is_none() {
        // The spawner has said why itself.
        sys::exit_now(1);
    }
    let mount = filesystem("binfmt_misc", &[], MountAttrFlags::empty())
        .step(|| "mount a binfmt_misc of its own, which Linux has since 6.7".into())?;
    for registration in registrations {
        let step = || format!("register {}", registration.interpreter.display());
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = rustix::fs::openat(&mount, "register", flags, Mode::empty()).step(step)?;
        File::from(register).write_all(&registration.line()).step(step)?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open("/proc/self/ns/user", flags, Mode::empty()).step(step)?;
    send(socket, &Word::Made, &[namespace.as_fd(), mount.as_fd()]).step(step)
}

/// Gives the namespace of a process all ids of this one, each as it is.
fn map_all(process: i32) -> io::Result<()> {
    for name in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(Path::new("/proc/self").join(name))?;
        let map: String =
            identity(&own).map(|(id, count)| format!("{id} {id} {count}\n")).collect();
        fs::write(format!("/proc/{process}/{name}"), map)?;
    }
    Ok(())
}

/// The ids that a map has, as runs: the first and how many.
///
/// One run for each line, since the kernel wants a run to be whole in the namespace around.
pub(crate) fn identity(map: &str) -> impl Iterator<Item = (u32, u32)> {
    map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let first = numbers.next()??;
        Some((first, numbers.nth(1)??))
    })
}

fn wait(helper: Pid) {
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitpid(Some(helper), WaitOptions::empty())
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_of_ids_is_kept_as_it_is() {
        let runs = |map: &str| identity(map).collect::<Vec<_>>();
        assert_eq!(runs("         0          0 4294967295\n"), [(0, u32::MAX)]);
        assert_eq!(runs("0 1000 1\n1 100000 65536\n"), [(0, 1), (1, 65_536)]);
        assert_eq!(runs(""), []);
    }
}
