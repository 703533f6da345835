//! Directories of the client, with the paths that are needed of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_llb::{Constraints, Differ, DifferKind, Local, State};

/// Which paths of a directory a build needs. Cheap to clone; clones share the list.
///
/// A language collects them while it lowers the user's file; the state of the directory looks at
/// the list when its graph is marshalled. An empty list, and `/` in it, mean all paths.
#[derive(Clone, Debug, Default)]
pub struct FollowPaths(Arc<Mutex<BTreeSet<String>>>);

impl FollowPaths {
    /// Adds paths.
    pub fn extend<S: Into<String>>(&self, paths: impl IntoIterator<Item = S>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.extend(paths.into_iter().map(Into::into));
    }

    /// The paths, sorted; empty if all are needed.
    pub fn list(&self) -> Vec<String> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match list.contains("/") {
            true => Vec::new(),
            false => list.iter().cloned().collect(),
        }
    }
}

/// A directory of the client.
#[derive(Clone, Debug)]
pub(super) struct LocalContext {
    pub(super) name: String,
    pub(super) session_id: String,
    pub(super) excludes: Vec<String>,
    pub(super) shared_key_hint: String,
    pub(super) vertex_name: String,
}

impl LocalContext {
    /// Its state, of which only some paths are transferred; all if there are none.
    pub(super) fn state(&self, follow_paths: Vec<String>) -> State {
        let local = Local::default()
            .with_session_id(self.session_id.clone())
            .with_exclude_patterns(self.excludes.clone())
            .with_follow_paths(follow_paths)
            .with_shared_key_hint(self.shared_key_hint.clone())
            .with_constraints(Constraints::named(self.vertex_name.clone()));
        State::local(&self.name, local)
    }

    /// Its state, which looks at the paths when it is marshalled.
    pub(super) fn late_state(self, paths: FollowPaths) -> State {
        let late = State::scratch().deferred(move |_, _| Ok(self.state(paths.list())));
        // Only the file system comes late; its values are those of any directory, and known.
        late.with_values_of(&State::scratch())
    }

    /// Just these files of the directory, all of them anew.
    pub(super) fn files(name: &str, session_id: &str, files: Vec<String>, told: Told) -> State {
        let local = Local::default()
            .with_session_id(session_id)
            .with_follow_paths(files)
            .with_shared_key_hint(told.shared_key_hint)
            .with_differ(Some(Differ::new(DifferKind::None)))
            .with_constraints(Constraints::named(told.vertex_name));
        State::local(name, local)
    }
}

/// What is said about a transfer.
pub(super) struct Told {
    pub(super) shared_key_hint: String,
    pub(super) vertex_name: String,
}
