//! What sources were resolved to in the builds that run.
//!
//! A build sees one state of what is outside: a URL or reference that was resolved once, for a
//! question of a frontend or for a step, stays what it was until the build is over, whatever a server
//! says meanwhile. Files that came with the answer are held for as long, so that no pruning in
//! between makes them be fetched again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::git::Resolved;
use crate::http::Saved;

/// The builds that run, by the session of their client. A cheap handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Builds(Arc<Mutex<BTreeMap<String, Weak<Memory>>>>);

/// Holds what the sources of one build were resolved to, while it lives.
#[derive(Clone, Debug)]
pub struct ResolvedSources {
    memory: Arc<Memory>,
    builds: Builds,
}

impl ResolvedSources {
    /// Lets others use a directory that this build has or uses: `unique` is what makes it unique,
    /// `owner` the session it is of.
    pub fn lend(&self, unique: &str, owner: &str) {
        put(&self.memory.directories, unique, owner.to_owned());
    }

    /// The sessions of the directories that any build has or uses, by what makes them unique.
    pub fn lenders(&self) -> BTreeMap<String, String> {
        let mut lenders = BTreeMap::new();
        for memory in self.builds.all() {
            let lent = memory.directories.lock().unwrap_or_else(PoisonError::into_inner).clone();
            lenders.extend(lent);
        }
        lenders
    }
}

/// One build's.
#[derive(Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Saved>>,
    references: Mutex<BTreeMap<String, Resolved>>,
    /// The owners of the directories it has or uses, by what makes them unique.
    directories: Mutex<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Builds {
    /// Remembers for the builds of a session, until all handles are gone.
    pub(crate) fn begin(&self, session: &str) -> ResolvedSources {
        let mut builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.retain(|_, memory| memory.strong_count() > 0);
        if let Some(memory) = builds.get(session).and_then(Weak::upgrade) {
            return ResolvedSources { memory, builds: self.clone() };
        }
        let memory = Arc::<Memory>::default();
        builds.insert(session.to_owned(), Arc::downgrade(&memory));
        ResolvedSources { memory, builds: self.clone() }
    }

    /// The file a build of one of these sessions has for a key.
    pub(crate) fn file(&self, sessions: &[String], key: &str) -> Option<Saved> {
        self.find(sessions, |memory| get(&memory.files, key))
    }

    /// Remembers a file for the builds of all these sessions.
    pub(crate) fn put_file(&self, sessions: &[String], key: &str, file: &Saved) {
        self.each(sessions, |memory| put(&memory.files, key, file.clone()));
    }

    /// What a git reference is to a build of one of these sessions.
    pub(crate) fn reference(&self, sessions: &[String], key: &str) -> Option<Resolved> {
        self.find(sessions, |memory| get(&memory.references, key))
    }

    /// Remembers what a git reference is.
    pub(crate) fn put_reference(&self, sessions: &[String], key: &str, resolved: &Resolved) {
        self.each(sessions, |memory| put(&memory.references, key, resolved.clone()));
    }

    fn find<T>(&self, sessions: &[String], get: impl Fn(&Memory) -> Option<T>) -> Option<T> {
        self.memories(sessions).iter().find_map(|memory| get(memory))
    }

    fn each(&self, sessions: &[String], put: impl Fn(&Memory)) {
        self.memories(sessions).iter().for_each(|memory| put(memory));
    }

    fn all(&self) -> Vec<Arc<Memory>> {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.values().filter_map(Weak::upgrade).collect()
    }

    fn memories(&self, sessions: &[String]) -> Vec<Arc<Memory>> {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().filter_map(|session| builds.get(session)?.upgrade()).collect()
    }
}

fn get<T: Clone>(map: &Mutex<BTreeMap<String, T>>, key: &str) -> Option<T> {
    map.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
}

/// Keeps what is there already: the first answer counts.
fn put<T>(map: &Mutex<BTreeMap<String, T>>, key: &str, value: T) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.entry(key.to_owned()).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(object: &str) -> Resolved {
        let (reference, object) = ("refs/heads/main".to_owned(), object.to_owned());
        Resolved { reference, object, commit: None, is_commit_id: false }
    }

    #[test]
    fn what_is_remembered_lasts_as_long_as_the_build() {
        let builds = Builds::default();
        let sessions = ["one".to_owned(), "two".to_owned()];
        builds.put_reference(&sessions, "key", &resolved("a"));
        assert_eq!(builds.reference(&sessions, "key"), None, "no such build runs");
        let (first, again) = (builds.begin("two"), builds.begin("two"));
        builds.put_reference(&sessions, "key", &resolved("a"));
        builds.put_reference(&sessions, "key", &resolved("b"));
        assert_eq!(builds.reference(&sessions, "key"), Some(resolved("a")));
        assert_eq!(builds.reference(&sessions[..1], "key"), None);
        drop(first);
        assert_eq!(builds.reference(&sessions, "key"), Some(resolved("a")));
        drop(again);
        let _later = builds.begin("two");
        assert_eq!(builds.reference(&sessions, "key"), None);
    }

    #[test]
    fn a_directory_is_lent_as_long_as_a_build_has_it() {
        let builds = Builds::default();
        let (owner, user, other) =
            (builds.begin("one"), builds.begin("two"), builds.begin("three"));
        assert!(other.lenders().is_empty());
        owner.lend("unique", "one");
        user.lend("unique", "one");
        drop(owner);
        assert_eq!(other.lenders(), [("unique".to_owned(), "one".to_owned())].into());
        drop(user);
        assert!(other.lenders().is_empty());
    }
}
