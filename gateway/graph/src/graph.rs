//! The graph itself: vertices by id, and what is wanted of them.

use std::sync::Arc;

use indexmap::IndexMap;
use kiln_oci::Digest;

use crate::{Edge, Vertex};

/// Vertices that are known to fit together, inputs before those who read them.
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

    /// All vertices, inputs before those who read them.
    pub fn vertices(&self) -> impl Iterator<Item = &Arc<Vertex>> {
        self.vertices.values()
    }
}
