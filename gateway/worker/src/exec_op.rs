//! The operator of processes.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_container::{ProcessSpec, files, limits, requester};
use kiln_engine::{Content, ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_graph::{Exec, Op, Vertex};
use kiln_handle::Handle;
use kiln_keys::ContentQuery;
use kiln_store::Ref;

use crate::vertex_map::{VertexMap, content_of};
use crate::worker::Inner;

pub(crate) struct ExecOperator {
    worker: Handle<Inner>,
    vertex: Arc<Vertex>,
    map: VertexMap,
}

impl ExecOperator {
    pub(crate) fn new(worker: Handle<Inner>, vertex: Arc<Vertex>) -> Self {
        Self { worker, vertex, map: VertexMap::default() }
    }

    fn op(&self) -> Result<&Exec, OpError> {
        match &self.vertex.op {
            Op::Exec(exec) => Ok(exec),
            _ => Err(OpError::new(ErrorKind::Invalid, "not a process")),
        }
    }
}

#[async_trait]
impl Operator<Ref> for ExecOperator {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        self.map.of(&self.vertex).cloned().map(Keyed::from)
    }

    fn preprocess<'a>(
        &'a self,
        job: &'a JobContext,
        _: usize,
        result: &'a Output<Ref>,
    ) -> BoxFuture<'a, Result<(), OpError>> {
        // It will be mounted: what is not here comes while other inputs are still made.
        Box::pin(async move { files(result.as_ref(), &requester(job)).await.map(drop) })
    }

    async fn content(
        &self,
        job: &JobContext,
        _: usize,
        query: &ContentQuery,
        result: &Output<Ref>,
    ) -> Result<Content, OpError> {
        content_of(&self.worker, job, query.clone(), result.as_ref()).await
    }

    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, ExecError<Ref>> {
        let exec = self.op()?;
        let name = self.vertex.digest.short();
        let spec = ProcessSpec {
            inputs,
            resources: limits(&self.vertex.metadata.resources),
            ..ProcessSpec::new(name, exec.clone(), self.vertex.platform.clone())
        };
        let containers = &self.worker.containers;
        let prepared = containers.prepare(job, spec).await?;
        let mut finished = containers.run(job, prepared).await?;
        containers.note_passed(job, &mut finished, &self.vertex.id).await;
        let status = finished.status;
        let code = i32::try_from(status.code).unwrap_or(i32::MAX);
        let fine = match &exec.valid_exit_codes[..] {
            [] => code == 0,
            valid => valid.contains(&code),
        };
        if !fine {
            let cause = if status.oom_killed { " (out of memory)" } else { "" };
            let what = exec.args.join(" ");
            let message = format!(
                "process \"{what}\" did not complete successfully: exit code: {}{cause}",
                status.code
            );
            let error = OpError::new(ErrorKind::Failed, message);
            let error = OpError { exit_code: Some(status.code), ..error };
            return Err(finished.failed(error).await);
        }
        Ok(finished.commit().await?)
    }
}
