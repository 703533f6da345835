//! The graph itself: vertices by id, and what is wanted of them.

use std::sync::Arc;

use indexmap::IndexMap;
use kiln_oci::Digest;

use crate::{Edge, MountKind, Op, Vertex};

/// Vertices that are known to fit together, inputs before those that read them. The default is the
/// graph of the empty file system.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) vertices: IndexMap<Digest, Arc<Vertex>>,
    pub(crate) root: Option<Edge>,
}

impl Graph {
    /// What the definition resolves to; `None` is the empty file system.
    pub fn root(&self) -> Option<&Edge> {
        self.root.as_ref()
    }

    /// A vertex by its id.
    pub fn vertex(&self, id: &Digest) -> Option<&Arc<Vertex>> {
        self.vertices.get(id)
    }

    /// All vertices, inputs before those that read them.
    pub fn vertices(&self) -> impl Iterator<Item = &Arc<Vertex>> {
        self.vertices.values()
    }

    /// The ids of the cache mounts that have to begin empty: those of processes that ignore the
    /// cache. A mount without an id is named after its path.
    pub fn renewed_cache_mounts(&self) -> impl Iterator<Item = &str> {
        let ignoring = self.vertices().filter(|vertex| vertex.metadata.ignore_cache);
        let mounts = ignoring.flat_map(|vertex| match &vertex.op {
            Op::Exec(exec) => exec.mounts.as_slice(),
            _ => &[],
        });
        mounts.filter_map(|mount| match &mount.kind {
            MountKind::Cache { id, .. } if id.is_empty() => Some(mount.dest.as_str()),
            MountKind::Cache { id, .. } => Some(id.as_str()),
            _ => None,
        })
    }
}
