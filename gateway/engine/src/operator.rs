//! The behaviour of operations, as contracts.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_graph::Vertex;
use kiln_keys::{CacheMap, ContentQuery};
use kiln_oci::Digest;

use crate::{ExecError, JobContext, OpError};

/// One result; `None` is the empty file system.
pub type Output<R> = Option<R>;

/// What is in an input, as far as that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its digest, which stands for the input in keys.
    pub digest: Digest,
    /// A list of what was looked at, for those who explain later why the digest is another one. Empty
    /// if there is none; to the engine it is bytes.
    pub listing: Bytes,
}

impl From<Digest> for Content {
    fn from(digest: Digest) -> Self {
        Self { digest, listing: Bytes::new() }
    }
}

/// How a vertex is keyed, in one of perhaps several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// This way.
    pub map: CacheMap,
    /// There is no other. Only vertices without inputs may be keyed in several ways: an image by its
    /// manifest and by its layers.
    pub is_last: bool,
}

impl From<CacheMap> for Keyed {
    fn from(map: CacheMap) -> Self {
        Self { map, is_last: true }
    }
}

/// The behaviour of one vertex: how it is keyed and how it runs.
///
/// The same object answers all calls for a vertex, for all jobs that share it, so what `cache_map`
/// found out (an image's manifest, say) is there for `exec`. Every call is cancelled by dropping it,
/// and may be made again after that or after it failed.
#[async_trait]
pub trait Operator<R>: Send + Sync {
    /// How the vertex is keyed. `index` counts the ways that are known already. May ask the network,
    /// must not do the work.
    async fn cache_map(&self, job: &JobContext, index: usize) -> Result<Keyed, OpError>;

    /// Makes an input usable whose [`Dep`](kiln_keys::Dep) says so, before its content is asked for
    /// or the vertex runs.
    fn preprocess<'a>(
        &'a self,
        _job: &'a JobContext,
        _input: usize,
        _result: &'a Output<R>,
    ) -> BoxFuture<'a, Result<(), OpError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The content of an input, as far as the query asks for it.
    async fn content(
        &self,
        job: &JobContext,
        input: usize,
        query: &ContentQuery,
        result: &Output<R>,
    ) -> Result<Content, OpError>;

    /// Does the work: one result per output.
    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<R>>,
    ) -> Result<Vec<Output<R>>, ExecError<R>>;
}

/// Operators for vertices, and a place for results. A result is released by dropping it.
#[async_trait]
pub trait Operators<R>: Send + Sync {
    /// The operator of a vertex.
    fn operator(&self, vertex: &Arc<Vertex>) -> Result<Arc<dyn Operator<R>>, OpError>;

    /// Makes results outlive the build; one text per result that [`Operators::load`] understands.
    async fn save(&self, vertex: &Vertex, results: &[R]) -> Result<Vec<String>, OpError>;

    /// Loads a saved result; `None` if it is gone or broken, which is a miss.
    async fn load(&self, job: &JobContext, saved: &str) -> Option<R>;
}
