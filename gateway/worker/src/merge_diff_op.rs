//! The operators that only put layers together: merge, diff and passthrough.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_container::{failed, files, requester};
use kiln_engine::{Content, ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_graph::{Op, Vertex};
use kiln_handle::Handle;
use kiln_keys::ContentQuery;
use kiln_store::Ref;

use crate::vertex_map::VertexMap;
use crate::worker::Inner;

pub(crate) struct MergeDiffOperator {
    worker: Handle<Inner>,
    vertex: Arc<Vertex>,
    map: VertexMap,
}

impl MergeDiffOperator {
    pub(crate) fn new(worker: Handle<Inner>, vertex: Arc<Vertex>) -> Self {
        Self { worker, vertex, map: VertexMap::default() }
    }
}

#[async_trait]
impl Operator<Ref> for MergeDiffOperator {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        self.map.of(&self.vertex).cloned().map(Keyed::from)
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        _: &ContentQuery,
        _: &Output<Ref>,
    ) -> Result<Content, OpError> {
        Err(OpError::new(ErrorKind::Invalid, "layers count by how they were made"))
    }

    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, ExecError<Ref>> {
        let input =
            |index: &Option<usize>| index.and_then(|index| inputs.get(index).cloned().flatten());
        let store = &self.worker.store;
        match &self.vertex.op {
            Op::Merge(list) => {
                let refs: Vec<Ref> = list.iter().filter_map(input).collect();
                if refs.is_empty() {
                    return Ok(vec![None]);
                }
                let merged = store.merge(&refs, &requester(job)).await;
                let merged = merged.map_err(|error| failed(&error))?;
                Ok(vec![Some(merged)])
            }
            Op::Diff { lower, upper } => {
                let requester = requester(job);
                let lower = files(input(lower).as_ref(), &requester).await?;
                let upper = files(input(upper).as_ref(), &requester).await?;
                let difference = store.diff(lower.as_ref(), upper.as_ref()).await;
                Ok(vec![difference.map_err(|error| failed(&error))?])
            }
            Op::Passthrough { outputs, .. } => {
                Ok(outputs.iter().map(|index| input(&Some(*index))).collect())
            }
            _ => Err(OpError::new(ErrorKind::Invalid, "not an operation on layers").into()),
        }
    }
}
