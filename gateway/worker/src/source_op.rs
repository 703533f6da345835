//! The operator of sources: pin for the key, fetch for the result.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_container::failed;
use kiln_engine::{Content, ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_graph::{Identifier, Op, Vertex};
use kiln_handle::Handle;
use kiln_keys::ContentQuery;
use kiln_keys::source::SourceKey;
use kiln_sources::Pin;
use kiln_store::Ref;
use tokio::sync::OnceCell;

use crate::worker::Inner;

pub(crate) struct SourceOperator {
    worker: Handle<Inner>,
    vertex: Arc<Vertex>,
    pin: OnceCell<Arc<Pin>>,
}

impl SourceOperator {
    pub(crate) fn new(worker: Handle<Inner>, vertex: Arc<Vertex>) -> Self {
        Self { worker, vertex, pin: OnceCell::new() }
    }

    fn identifier(&self) -> Result<&Identifier, OpError> {
        match &self.vertex.op {
            Op::Source(identifier) => Ok(identifier),
            _ => Err(OpError::new(ErrorKind::Invalid, "not a source")),
        }
    }

    fn pin<'a>(&'a self, job: &'a JobContext) -> BoxFuture<'a, Result<&'a Pin, OpError>> {
        Box::pin(async move {
            let identifier = self.identifier()?;
            let pin = || async {
                let pin = self
                    .worker
                    .sources
                    .pin(identifier, &self.vertex.platform, &self.worker.context(job))
                    .await;
                let pin = Arc::new(pin.map_err(|error| failed(&error))?);
                self.worker.pinned.note(&self.vertex.id, &pin);
                Ok(pin)
            };
            self.pin.get_or_try_init(pin).await.map(|pin| &**pin)
        })
    }
}

impl Drop for SourceOperator {
    fn drop(&mut self) {
        if let Some(pin) = self.pin.get() {
            self.worker.pinned.forget(&self.vertex.id, pin);
        }
    }
}

#[async_trait]
impl Operator<Ref> for SourceOperator {
    /// Keyed by what it was resolved to and then, if there is such a key, by what that holds.
    async fn cache_map(&self, job: &JobContext, index: usize) -> Result<Keyed, OpError> {
        let pin = self.pin(job).await?;
        let keys: Vec<&SourceKey> = std::iter::once(&pin.key).chain(&pin.content_key).collect();
        let index = index.min(keys.len() - 1);
        Ok(Keyed { map: keys[index].map(), is_last: index + 1 == keys.len() })
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        _: &ContentQuery,
        _: &Output<Ref>,
    ) -> Result<Content, OpError> {
        Err(OpError::new(ErrorKind::Invalid, "a source has no inputs"))
    }

    async fn exec(
        &self,
        job: &JobContext,
        _: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, ExecError<Ref>> {
        let pin = self.pin(job).await?;
        let fetched =
            self.worker.sources.fetch(self.identifier()?, pin, &self.worker.context(job)).await;
        Ok(vec![fetched.map_err(|error| failed(&error))?])
    }
}
