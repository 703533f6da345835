//! What the sources of running builds were resolved to, by vertex.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kiln_oci::Digest;
use kiln_sources::Pin;

/// Sources that are held by some build.
#[derive(Default)]
pub(crate) struct Pinned(Mutex<HashMap<Digest, Weak<Pin>>>);

impl Pinned {
    /// Notes what a source was resolved to, for as long as that is held.
    pub(crate) fn note(&self, vertex: &Digest, pin: &Arc<Pin>) {
        self.table().insert(vertex.clone(), Arc::downgrade(pin));
    }

    /// Takes that back, unless another has taken its place.
    pub(crate) fn forget(&self, vertex: &Digest, pin: &Arc<Pin>) {
        let mut table = self.table();
        if table.get(vertex).is_some_and(|noted| noted.as_ptr() == Arc::as_ptr(pin)) {
            table.remove(vertex);
        }
    }

    /// What a source was resolved to.
    pub(crate) fn get(&self, vertex: &Digest) -> Option<Arc<Pin>> {
        self.table().get(vertex).and_then(Weak::upgrade)
    }

    /// What all sources of running builds were resolved to.
    pub(crate) fn all(&self) -> Vec<Arc<Pin>> {
        self.table().values().filter_map(Weak::upgrade).collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Pin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
