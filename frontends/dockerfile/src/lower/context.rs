//! The build context: a state that is used long before anybody knows which of its files are.

use std::sync::{Arc, OnceLock};

use kiln_sdk::frontend::FollowPaths;
use kiln_sdk::llb::State;

/// The build context, to be found out last. Cheap to clone; clones are the same context.
#[derive(Clone, Debug)]
pub(crate) struct BuildContext {
    found: Arc<OnceLock<State>>,
    state: State,
    /// The paths that are used of it.
    pub(crate) paths: FollowPaths,
}

impl Default for BuildContext {
    fn default() -> Self {
        let found: Arc<OnceLock<State>> = Arc::default();
        let later = Arc::clone(&found);
        let state = State::scratch().deferred(move |nothing, _| {
            // A context that nobody asked for is not there.
            Ok(later.get().cloned().unwrap_or(nothing))
        });
        // Its environment is known, though: it has none.
        let state = state.with_values_of(&State::scratch());
        Self { found, state, paths: FollowPaths::default() }
    }
}

impl BuildContext {
    /// The context as a state to copy from and to mount.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Says what the context is; the first word counts.
    pub(crate) fn found(&self, state: State) {
        // Whoever comes second found the same.
        self.found.get_or_init(|| state);
    }
}
