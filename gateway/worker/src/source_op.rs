//! The operator of sources: pin for the key, fetch for the result.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_cache::CacheMap;
use kiln_engine::{ErrorKind, JobContext, OpError, Operator, Output};
use kiln_graph::{Identifier, Op, Vertex};
use kiln_oci::Digest;
use kiln_sources::Pin;
use kiln_store::Ref;
use tokio::sync::OnceCell;

use crate::keyed::engine_map;
use crate::worker::{Inner, failed};

pub(crate) struct SourceOperator {
    worker: Arc<Inner>,
    vertex: Arc<Vertex>,
    pin: OnceCell<Pin>,
}

impl SourceOperator {
    pub(crate) fn new(worker: Arc<Inner>, vertex: Arc<Vertex>) -> Self {
        Self { worker, vertex, pin: OnceCell::new() }
    }

    fn identifier(&self) -> Result<&Identifier, OpError> {
        match &self.vertex.op {
            Op::Source(identifier) => Ok(identifier),
            _ => Err(OpError::new(ErrorKind::Invalid, "not a source")),
        }
    }

    async fn pin(&self, job: &JobContext) -> Result<&Pin, OpError> {
        let identifier = self.identifier()?;
        let pin = || async {
            let pin = self
                .worker
                .sources
                .pin(identifier, &self.vertex.platform, &self.worker.context(job))
                .await;
            pin.map_err(|error| failed(&error))
        };
        self.pin.get_or_try_init(pin).await
    }
}

#[async_trait]
impl Operator<Ref> for SourceOperator {
    async fn cache_map(&self, job: &JobContext) -> Result<CacheMap, OpError> {
        let pin = self.pin(job).await?;
        let map = engine_map(&pin.key.map());
        let content = pin.content_key.as_ref().map(|key| key.map().digest);
        Ok(CacheMap { content, ..map })
    }

    async fn content(&self, _: &JobContext, _: usize, _: &Output<Ref>) -> Result<Digest, OpError> {
        Err(OpError::new(ErrorKind::Invalid, "a source has no inputs"))
    }

    async fn exec(
        &self,
        job: &JobContext,
        _: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, OpError> {
        let pin = self.pin(job).await?;
        let fetched =
            self.worker.sources.fetch(self.identifier()?, pin, &self.worker.context(job)).await;
        Ok(vec![fetched.map_err(|error| failed(&error))?])
    }
}
