//! The behaviour of operations, as contracts.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_cache::CacheMap;
use kiln_graph::Vertex;
use kiln_oci::Digest;

use crate::{JobContext, OpError};

/// One result; `None` is the empty file system.
pub type Output<R> = Option<R>;

/// The behaviour of one vertex: how it is keyed and how it runs.
///
/// The same object answers all calls for a vertex, so what `cache_map` found out (an image's
/// manifest, say) is there for `exec`. Every call is cancelled by dropping it.
#[async_trait]
pub trait Operator<R>: Send + Sync {
    /// How the vertex is keyed. May ask the network, must not do the work.
    async fn cache_map(&self, job: &JobContext) -> Result<CacheMap, OpError>;

    /// The content of an input, as far as the vertex reads it.
    async fn content(
        &self,
        job: &JobContext,
        input: usize,
        result: &Output<R>,
    ) -> Result<Digest, OpError>;

    /// Does the work: one result per output.
    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<R>>,
    ) -> Result<Vec<Output<R>>, OpError>;
}

/// Operators for vertices, and a place for results.
#[async_trait]
pub trait Operators<R>: Send + Sync {
    /// The operator of a vertex.
    fn operator(&self, vertex: &Arc<Vertex>) -> Result<Arc<dyn Operator<R>>, OpError>;

    /// Makes results outlive the build; one text per result that [`Operators::load`] understands.
    async fn save(
        &self,
        vertex: &Vertex,
        results: &[Output<R>],
    ) -> Result<Vec<Option<String>>, OpError>;

    /// Finds a saved result; `None` if it is gone or broken.
    async fn load(&self, saved: &str) -> Option<R>;
}
