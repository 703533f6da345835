//! Who a process is: user, group, supplementary groups and home, as the root's own files say.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::stubs::open_inside;
use crate::spawner::Failure;

/// The largest id there is: the one above means "leave it as it is" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;
/// A larger user file is refused.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// The ids of a process, and where its home is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

impl Identity {
    /// The same, in more groups.
    #[must_use]
    pub(crate) fn with_groups(mut self, more: &[u32]) -> Self {
        for group in more {
            if !self.groups.contains(group) {
                self.groups.push(*group);
            }
        }
        self
    }
}

/// Resolves `user` with the `/etc/passwd` and `/etc/group` below `root`.
pub(crate) fn look_up(root: BorrowedFd<'_>, user: &str) -> Result<Identity, Failure> {
    let read = |path: &str| read_inside(root, Path::new(path)).unwrap_or_default();
    resolve(user, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|message| Failure::Setup { step: format!("look up user {user:?}"), message })
}

fn read_inside(root: BorrowedFd<'_>, path: &Path) -> io::Result<String> {
    // A named pipe in place of the file must not block.
    let file = std::fs::File::from(open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Resolves `user` with the texts of the two files.
///
/// A number needs no entry; where there is one, its group and memberships count as those of a name.
pub(crate) fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let uid = if name.is_empty() { Some(0) } else { number("user", name)? };
    let entry = accounts(passwd).find(|account| match uid {
        Some(uid) => account.uid == Some(uid),
        None => account.name == name,
    });
    let home = entry.as_ref().map_or("/", |account| account.home).to_owned();
    let (uid, own_gid) = match (uid, &entry) {
        (_, Some(account)) => account.ids()?,
        (Some(uid), None) => (uid, 0),
        (None, None) => {
            return Err(format!("unable to find user {name}: no matching entries in passwd file"));
        }
    };
    let (gid, mut groups) = match (group_name, &entry) {
        (Some(group_name), _) => (group_id(group_name, group)?, Vec::new()),
        (None, Some(account)) => (own_gid, memberships(account.name, group)),
        (None, None) => (own_gid, Vec::new()),
    };
    // The kernel does not count the group itself, but `id` and BuildKit do.
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Ok(Identity { uid, gid, groups, home })
}

struct Account<'a> {
    name: &'a str,
    /// `None` if the file has something else in its place.
    uid: Option<u32>,
    gid: Option<u32>,
    home: &'a str,
}

impl Account<'_> {
    fn ids(&self) -> Result<(u32, u32), String> {
        match (self.uid, self.gid) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => Err(format!(
                "the entry of {} in the passwd file has an id that is not a number from 0 to {MAX_ID}",
                self.name
            )),
        }
    }
}

/// A text that is a number, as an id; `None` if it is a name.
fn number(what: &str, text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let out_of_range = || format!("{what} id {text} is out of range (0 to {MAX_ID})");
    id(text).map(Some).ok_or_else(out_of_range)
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?);
        let gid = id(fields.next()?);
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(Account { name, uid, gid, home })
    })
}

/// Name, id and members of each group; no id if the file has something else in its place.
fn groups(group: &str) -> impl Iterator<Item = (&str, Option<u32>, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?);
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_id(name: &str, group: &str) -> Result<u32, String> {
    if let Some(gid) = number("group", name)? {
        return Ok(gid);
    }
    let (_, gid, _) = groups(group)
        .find(|(found, ..)| *found == name)
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))?;
    gid.ok_or_else(|| {
        format!("the entry of {name} in the group file has an id that is not a number from 0 to {MAX_ID}")
    })
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    groups(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .filter_map(|(_, gid, _)| gid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:bob,ann\nann:x:1001:\nwheel:x:10:ann\n";

    #[track_caller]
    fn check(user: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let expected = Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
        assert_eq!(resolve(user, PASSWD, GROUP), Ok(expected));
    }

    #[test]
    fn nobody_in_particular_is_root() {
        check("", 0, 0, &[0], "/root");
    }

    #[test]
    fn numbers_need_no_entry() {
        check("7", 7, 0, &[0], "/");
        check("7:8", 7, 8, &[8], "/");
        check("1000:8", 1000, 8, &[8], "/home/ann");
    }

    #[test]
    fn a_name_or_number_with_an_entry_brings_its_group_and_memberships() {
        check("ann", 1000, 1001, &[1001, 50, 10], "/home/ann");
        check("1000", 1000, 1001, &[1001, 50, 10], "/home/ann");
    }

    #[test]
    fn a_given_group_replaces_the_memberships() {
        check("ann:staff", 1000, 50, &[50], "/home/ann");
        check("ann:77", 1000, 77, &[77], "/home/ann");
    }

    #[test]
    fn a_number_that_is_no_id_is_an_error_and_never_root() {
        for user in ["4294967295", "-1", "4294967296", "99999999999999999999", "0:4294967295"] {
            let error = resolve(user, PASSWD, GROUP).expect_err(user);
            assert!(error.contains("is out of range (0 to 4294967294)"), "{error}");
        }
        check("4294967294", 4_294_967_294, 0, &[0], "/");
    }

    #[test]
    fn an_entry_without_valid_ids_is_an_error_if_it_is_wanted() {
        let passwd = "eve:x:4294967295:7::/:\nmal:x:7:4294967296::/:\nann:x:1000:1001::/:\n";
        let group = "wide:x:-1:ann\nann:x:1001:\nwheel:x:10:ann\n";
        for user in ["eve", "mal", "7", "ann:wide"] {
            let error = resolve(user, passwd, group).expect_err(user);
            assert!(error.contains("an id that is not a number from 0 to 4294967294"), "{error}");
        }
        let ann = resolve("ann", passwd, group).unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups), (1000, 1001, vec![1001, 10]));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_the_file() {
        let user = resolve("eve", PASSWD, GROUP).expect_err("no such user");
        assert_eq!(user, "unable to find user eve: no matching entries in passwd file");
        let group = resolve("ann:none", PASSWD, GROUP).expect_err("no such group");
        assert_eq!(group, "unable to find group none: no matching entries in group file");
    }
}
