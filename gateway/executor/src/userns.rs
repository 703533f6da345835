//! How a daemon gets the powers it needs, before it has threads.
//!
//! Without rights it continues inside a user namespace where it is root; with them it only takes its
//! mounts private, so that they vanish with it. [`crate::Privileges`] decides which.

use std::fs;
use std::io::{self, Read, Write};
use std::process::Command;

use rustix::mount::MountPropagationFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::sys;

/// Continues in a user and mount namespace of its own.
///
/// Returns in the new namespaces, in a child; the calling process stays outside, passes signals on
/// and exits as the child does. All ids of `/etc/subuid` and `/etc/subgid` are mapped if the host
/// has `newuidmap` and `newgidmap`; otherwise the own id is the only one, as root.
///
/// # Errors
///
/// If the kernel does not let this user make namespaces.
pub fn enter() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (mapped, map) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    let Some(child) = sys::clone3(flags as u64, None)? else {
        drop(map);
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        fs::File::from(mapped).read_exact(&mut [0])?;
        return make_mounts_private();
    };
    if let Err(error) = map_ids(child, uid, gid) {
        rustix::process::kill_process(child, Signal::KILL)?;
        wait(child)?;
        return Err(error);
    }
    sys::forward_signals(child, sys::FORWARDED);
    fs::File::from(map).write_all(&[1])?;
    std::process::exit(wait(child)?)
}

/// Gives the process its own mounts, for a daemon that is root.
pub fn private_mounts() -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS)?;
    make_mounts_private()
}

/// Whether the process is in a user namespace other than the machine's.
pub fn inside() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Keeps what is mounted from here on to this mount namespace.
pub(crate) fn make_mounts_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

fn wait(child: Pid) -> io::Result<i32> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map_or(255, |signal| signal + 128);
                return Ok(status.exit_status().unwrap_or(signal));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn map_ids(child: Pid, uid: u32, gid: u32) -> io::Result<()> {
    let name = user_name(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
    let range = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        subordinate(&text, uid, name.as_deref())
    };
    if let (Some(uids), Some(gids)) = (range("/etc/subuid"), range("/etc/subgid"))
        && run_mapper("newuidmap", child, uid, uids)
        && run_mapper("newgidmap", child, gid, gids)
    {
        return Ok(());
    }
    let process = format!("/proc/{}", child.as_raw_nonzero());
    if !is_mapped(&format!("{process}/uid_map")) {
        fs::write(format!("{process}/uid_map"), format!("0 {uid} 1"))?;
    }
    // Without privileges, a group map is only accepted from who cannot drop groups.
    fs::write(format!("{process}/setgroups"), "deny")?;
    fs::write(format!("{process}/gid_map"), format!("0 {gid} 1"))
}

fn is_mapped(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|map| !map.trim().is_empty())
}

fn run_mapper(program: &str, child: Pid, own: u32, (start, count): (u32, u32)) -> bool {
    let numbers = [0, own, 1, 1, start, count].map(|number| number.to_string());
    let child = child.as_raw_nonzero().to_string();
    Command::new(program).arg(child).args(numbers).status().is_ok_and(|status| status.success())
}

fn user_name(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The first range of ids for a user, by name or number: start and count.
fn subordinate(text: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (Some(owner) == name || owner.parse() == Ok(uid)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "bob:100000:65536\n1000:200000:1000\nann:300000:7\n";
        assert_eq!(subordinate(text, 1000, Some("zoe")), Some((200_000, 1000)));
        assert_eq!(subordinate(text, 1001, Some("ann")), Some((300_000, 7)));
        assert_eq!(subordinate(text, 1001, None), None);
    }

    #[test]
    fn a_user_is_found_by_number() {
        assert_eq!(user_name(5, "a:x:4:4\nb:x:5:5\n"), Some("b".to_owned()));
    }
}
