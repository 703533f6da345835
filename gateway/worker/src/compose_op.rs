//! The operators that only put layers together: merge, diff and passthrough.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_cache::{CacheMap, ContentQuery};
use kiln_engine::{ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_graph::{Op, Vertex};
use kiln_oci::Digest;
use kiln_store::Ref;

use crate::worker::{Inner, failed};

pub(crate) struct ComposeOperator {
    pub(crate) worker: Arc<Inner>,
    pub(crate) vertex: Arc<Vertex>,
}

#[async_trait]
impl Operator<Ref> for ComposeOperator {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        // Operations are plain data, which always has a JSON form.
        let json = serde_json::to_string(&self.vertex.op).unwrap_or_default();
        let digest = Digest::sha256(format!("kiln.compose.v1 {json}"));
        Ok(CacheMap::plain(digest, self.vertex.inputs.len()).into())
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        _: &ContentQuery,
        _: &Output<Ref>,
    ) -> Result<Digest, OpError> {
        Err(OpError::new(ErrorKind::Invalid, "layers count by how they were made"))
    }

    async fn exec(
        &self,
        _: &JobContext,
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
                Ok(vec![Some(store.merge(&refs).map_err(|error| failed(&error))?)])
            }
            Op::Diff { lower, upper } => {
                let (lower, upper) = (input(lower), input(upper));
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
