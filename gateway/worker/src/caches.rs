//! Cache mounts by id, and which of them a build wants to begin empty.

use std::collections::BTreeSet;

use kiln_graph::{Graph, MountKind, Op};
use kiln_store::StoreError;

use crate::Worker;

/// The name of a cache mount among the directories of the store.
pub(crate) fn key(id: &str) -> String {
    format!("cache-mount:{id}")
}

/// The ids of the cache mounts of processes that are not to be taken from the cache: what such a
/// process leaves must not depend on what others left before.
pub fn fresh_caches(graph: &Graph) -> BTreeSet<String> {
    let execs = graph.vertices().filter(|vertex| vertex.metadata.ignore_cache);
    let mounts = execs.filter_map(|vertex| match &vertex.op {
        Op::Exec(exec) => Some(&exec.mounts),
        _ => None,
    });
    let ids = mounts.flatten().filter_map(|mount| match &mount.kind {
        MountKind::Cache { id, .. } => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

impl Worker {
    /// Makes a cache mount begin empty for whoever asks for it next. A process that has it mounted
    /// goes on with what it has.
    ///
    /// # Errors
    ///
    /// If the store cannot write that down.
    pub async fn forget_cache(&self, id: &str) -> Result<(), StoreError> {
        self.store().forget_directory(&key(id)).await
    }
}
