//! Who owns what is made: by number, or by a name of the file system's own lists.

use std::path::Path;

use kiln_graph::FileUser;

use super::FileError;
use kiln_container::scope;

/// The largest list of users that is read, in bytes.
const MAX_LIST: u64 = 10 << 20;

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The user.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
}

/// Finds the numbers of an owner. A name that is in no list is root, as in BuildKit; a user by name
/// brings its group.
pub(crate) fn find_owner(
    user: Option<(&FileUser, Option<&Path>)>,
    group: Option<(&FileUser, Option<&Path>)>,
) -> Result<Ids, FileError> {
    let mut ids = Ids { uid: 0, gid: 0 };
    match user {
        None => {}
        Some((FileUser::Id(id), _)) => ids.uid = *id,
        Some((FileUser::Name { name, .. }, root)) => {
            if let Some(fields) = look_up(root, "/etc/passwd", name)? {
                ids =
                    Ids { uid: number("passwd", &fields, 2)?, gid: number("passwd", &fields, 3)? };
            }
        }
    }
    match group {
        None => {}
        Some((FileUser::Id(id), _)) => ids.gid = *id,
        Some((FileUser::Name { name, .. }, root)) => {
            if let Some(fields) = look_up(root, "/etc/group", name)? {
                ids.gid = number("group", &fields, 2)?;
            }
        }
    }
    Ok(ids)
}

/// The id in a field of an entry. What is no id must not pass for root's.
fn number(list: &str, fields: &[String], index: usize) -> Result<u32, FileError> {
    let id = fields.get(index).and_then(|text| text.parse().ok()).filter(|id| *id != u32::MAX);
    id.ok_or_else(|| {
        let name = fields.first().map_or("", String::as_str);
        FileError::Invalid(format!(
            "the entry of {name} in /etc/{list} has an id that is not a number from 0 to 4294967294"
        ))
    })
}

/// The fields of the line that begins with a name.
fn look_up(root: Option<&Path>, list: &str, name: &str) -> Result<Option<Vec<String>>, FileError> {
    let Some(root) = root else { return Ok(None) };
    let path = scope::resolve(root, list, true).map_err(FileError::io("resolve", list))?;
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_LIST => {}
        Ok(_) => {
            return Err(FileError::Invalid(format!("{list} is no regular file of at most 10 MiB")));
        }
        Err(_) => return Ok(None),
    }
    let text = std::fs::read(&path).map_err(FileError::io("read", list))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    Ok(lines.find(|fields| fields.first().is_some_and(|first| first == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_by_name_brings_its_group_and_nobody_is_root() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(
            directory.path().join("etc/passwd"),
            "root:x:0:0::/:\nbuild:x:1000:1001::/:\n",
        )
        .unwrap();
        std::fs::write(directory.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let named = |name: &str| FileUser::Name {
            name: name.into(),
            input: kiln_graph::FileInput::Scratch,
        };
        let (build, staff, nobody) = (named("build"), named("staff"), named("who"));
        let root = Some(directory.path());
        let find = |user, group| find_owner(Some((user, root)), group).unwrap();
        assert_eq!(find(&build, None), Ids { uid: 1000, gid: 1001 });
        assert_eq!(find(&build, Some((&staff, root))), Ids { uid: 1000, gid: 50 });
        assert_eq!(find(&nobody, None), Ids { uid: 0, gid: 0 });
        assert_eq!(find(&FileUser::Id(7), None), Ids { uid: 7, gid: 0 });
        for entry in ["eve:x:4294967295:0::/:\n", "eve:x:4294967296:0::/:\n", "eve:x:0:-1::/:\n"] {
            std::fs::write(directory.path().join("etc/passwd"), entry).unwrap();
            let error = find_owner(Some((&named("eve"), root)), None).unwrap_err().to_string();
            assert!(error.contains("the entry of eve in /etc/passwd has an id"), "{error}");
        }
    }
}
