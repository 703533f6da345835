//! Whether a step that ran again on the same inputs made the same again.
//!
//! Two results come in, the files that differ go out: of what the step itself wrote, the topmost layer.
//! Times do not count, as they do not for any key. Only a bounded amount is read, because whoever asks
//! is a build that wants to end.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_store::Ref;
use kiln_why::listing::{self, Listing};
use kiln_why::{FileChange, Rerun};

use crate::content;

/// How many bytes of files are read at most, in both results together.
const MOST_BYTES: u64 = 64 << 20;
/// How many entries are looked at, in each of them.
const MOST_ENTRIES: usize = 20_000;
/// How many files are named.
const MOST_NAMED: usize = 20;

/// What differs between the results of two runs of the same step; `None` if they cannot be compared.
/// Blocks.
pub fn compare_results(earlier: &Ref, now: &Ref) -> Option<Rerun> {
    let (before, after) = (earlier.layers(), now.layers());
    let (Some(old), Some(new)) = (before.last(), after.last()) else { return None };
    if before.len() != after.len() || old.is_view() || new.is_view() {
        return None;
    }
    if old.number() == new.number() {
        return Some(Rerun::default());
    }
    // Nothing is pulled to find out.
    let (before, after) = (earlier.ready()?, now.ready()?);
    let (old, new) = (before.layers().last()?, after.layers().last()?);
    match compare(&old.path(), &new.path()) {
        Ok(rerun) => Some(rerun),
        Err(error) => {
            tracing::debug!(%error, "the results of two runs cannot be compared");
            None
        }
    }
}

fn compare(before: &Path, after: &Path) -> io::Result<Rerun> {
    let mut rerun = Rerun::default();
    let (old, new) = (walk(before)?, walk(after)?);
    rerun.cut = old.is_cut || new.is_cut;
    let mut budget = MOST_BYTES;
    let (mut was, mut is) = (Listing::default(), Listing::default());
    for (path, metadata) in &old.entries {
        let Some(now) = new.entries.get(path) else {
            was.entries.insert(path.clone(), content::look(&before.join(os(path)), metadata)?);
            continue;
        };
        let bytes = if metadata.is_file() { metadata.len() + now.len() } else { 0 };
        let differs_at_once = metadata.is_file() && metadata.len() != now.len();
        match budget.checked_sub(if differs_at_once { 0 } else { bytes }) {
            Some(rest) => budget = rest,
            None => {
                rerun.cut = true;
                continue;
            }
        }
        was.entries.insert(path.clone(), content::look(&before.join(os(path)), metadata)?);
        is.entries.insert(path.clone(), content::look(&after.join(os(path)), now)?);
    }
    for (path, metadata) in new.entries.iter().filter(|(path, _)| !old.entries.contains_key(*path))
    {
        is.entries.insert(path.clone(), content::look(&after.join(os(path)), metadata)?);
    }
    (was.is_cut, is.is_cut) = (old.is_cut, new.is_cut);
    let changes: Vec<FileChange> = listing::changes(&was, &is);
    rerun.more = changes.len().saturating_sub(MOST_NAMED);
    rerun.files = changes.into_iter().take(MOST_NAMED).collect();
    Ok(rerun)
}

fn os(path: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(path)
}

/// Entries of a directory by path.
#[derive(Default)]
struct Walked {
    entries: BTreeMap<Vec<u8>, Metadata>,
    is_cut: bool,
}

fn walk(root: &Path) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if walked.entries.len() == MOST_ENTRIES {
                walked.is_cut = true;
                return Ok(walked);
            }
            let path = directory.join(entry.file_name());
            if metadata.is_dir() {
                open.push(path.clone());
            }
            walked.entries.insert(path.as_os_str().as_bytes().to_vec(), metadata);
        }
    }
    Ok(walked)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn changed(rerun: &Rerun) -> Vec<String> {
        let text = |change: &FileChange| format!("{} {}", change.path, change.changed.join(" "));
        rerun.files.iter().map(text).collect()
    }

    #[test]
    fn results_differ_by_what_is_in_them_and_not_by_their_times() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("1"), root.path().join("2"));
        for place in [&one, &two] {
            fs::create_dir_all(place.join("a")).unwrap();
            fs::write(place.join("a/same"), "same").unwrap();
            fs::write(place.join("a/drawn"), "4").unwrap();
        }
        let file = fs::File::options().append(true).open(two.join("a/same")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(compare(&one, &two).unwrap(), Rerun::default());
        fs::write(two.join("a/drawn"), "5").unwrap();
        fs::write(two.join("b"), "").unwrap();
        fs::remove_file(two.join("a/same")).unwrap();
        let rerun = compare(&one, &two).unwrap();
        assert_eq!(changed(&rerun), ["a/drawn content", "a/same gone", "b new"]);
        assert!(!rerun.cut && rerun.more == 0);
    }
}
