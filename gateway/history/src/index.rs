//! Which records there are, and which blobs they need: what is decided on, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use kiln_oci::Digest;

use crate::policy::Age;

/// The records of an archive.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<String, Entry>,
    /// By how many records a blob is needed.
    uses: BTreeMap<Digest, usize>,
}

/// What there is to know about a record.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) completed: SystemTime,
    pub(crate) pinned: bool,
    pub(crate) blobs: BTreeSet<Digest>,
}

impl Index {
    /// Adds or replaces a record. Returns the blobs that are no longer needed.
    pub(crate) fn insert(&mut self, build: &str, entry: Entry) -> Vec<Digest> {
        // Before the old record goes, so that what both need is needed all the time.
        for blob in &entry.blobs {
            *self.uses.entry(blob.clone()).or_default() += 1;
        }
        let old = self.entries.insert(build.to_owned(), entry);
        self.release(old)
    }

    /// Removes a record. Returns the blobs that are no longer needed.
    pub(crate) fn remove(&mut self, build: &str) -> Vec<Digest> {
        let old = self.entries.remove(build);
        self.release(old)
    }

    pub(crate) fn contains(&self, build: &str) -> bool {
        self.entries.contains_key(build)
    }

    pub(crate) fn pin(&mut self, build: &str, pinned: bool) {
        if let Some(entry) = self.entries.get_mut(build) {
            entry.pinned = pinned;
        }
    }

    /// Whether a record needs a blob.
    pub(crate) fn needs(&self, blob: &Digest) -> bool {
        self.uses.contains_key(blob)
    }

    /// What a policy looks at.
    pub(crate) fn ages(&self) -> Vec<Age> {
        let age = |(build, entry): (&String, &Entry)| Age {
            build: build.clone(),
            completed: entry.completed,
            pinned: entry.pinned,
        };
        self.entries.iter().map(age).collect()
    }

    fn release(&mut self, old: Option<Entry>) -> Vec<Digest> {
        let mut unneeded = Vec::new();
        for blob in old.into_iter().flat_map(|old| old.blobs) {
            match self.uses.get_mut(&blob) {
                Some(uses) if *uses > 1 => *uses -= 1,
                _ => {
                    self.uses.remove(&blob);
                    unneeded.push(blob);
                }
            }
        }
        unneeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(blobs: &[&Digest]) -> Entry {
        let blobs = blobs.iter().map(|blob| (*blob).clone()).collect();
        Entry { completed: SystemTime::UNIX_EPOCH, pinned: false, blobs }
    }

    #[test]
    fn a_blob_goes_with_the_last_record_that_needs_it() {
        let (one, two) = (Digest::sha256("1"), Digest::sha256("2"));
        let mut index = Index::default();
        assert_eq!(index.insert("a", entry(&[&one, &two])), []);
        assert_eq!(index.insert("b", entry(&[&one])), []);
        assert_eq!(index.remove("a"), std::slice::from_ref(&two));
        assert!(index.needs(&one) && !index.needs(&two));
        assert_eq!(index.remove("b"), std::slice::from_ref(&one));
        assert_eq!(index.remove("b"), []);
    }

    #[test]
    fn a_record_that_replaces_another_keeps_what_both_need() {
        let (one, two) = (Digest::sha256("1"), Digest::sha256("2"));
        let mut index = Index::default();
        index.insert("a", entry(&[&one, &two]));
        assert_eq!(index.insert("a", entry(&[&one])), [two]);
        assert!(index.needs(&one));
    }
}
