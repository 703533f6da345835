//! The operator of processes.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_engine::{Content, ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_graph::{Exec, NetworkMode, Op, Vertex};
use kiln_keys::ContentQuery;
use kiln_oci::Platform;
use kiln_store::Ref;

use crate::devices;
use crate::exec_mounts::prepare;
use crate::foreign;
use crate::processes::{process, resources};
use crate::steps::{NotRun, Step};
use crate::vertex_map::{VertexMap, content_of};
use crate::worker::{Inner, files, requester};

pub(crate) struct ExecOperator {
    worker: Arc<Inner>,
    vertex: Arc<Vertex>,
    map: VertexMap,
}

impl ExecOperator {
    pub(crate) fn new(worker: Arc<Inner>, vertex: Arc<Vertex>) -> Self {
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
        let edits = devices::edits(&self.worker, exec).await?;
        let mut prepared = prepare(&self.worker, job, exec, &inputs).await?;
        prepared.mounts.extend(devices::mounts(&edits));
        let id = kiln_executor::unique_id(self.vertex.digest.short());
        let mut process = process(&self.worker, job, exec, &self.vertex.platform, id).await?;
        process.resources = resources(&self.vertex.metadata.resources);
        process.rootfs = prepared.rootfs.clone();
        process.readonly_rootfs = prepared.readonly_rootfs;
        process.mounts = prepared.mounts.clone();
        devices::apply(edits, &mut process);
        let host = exec.network == NetworkMode::Host;
        let proxied = self.worker.proxies.connect(exec.proxied.as_ref(), host, &mut process);
        prepared.proxied = proxied.await?;
        let executor = Arc::clone(&self.worker.executor);
        let step = Step { executor, process, prepared, job: job.clone() };
        let (status, mut prepared) = match self.worker.steps.run(step).await {
            Ok(ended) => ended,
            Err(NotRun { error, prepared }) => {
                let (wanted, own) = (&self.vertex.platform, Platform::host());
                let error = foreign::could_not_run(&exec.args, wanted, &own, error);
                let mounts = match prepared {
                    Some(prepared) => prepared.left(exec, &inputs).await,
                    None => Vec::new(),
                };
                return Err(ExecError { error, mounts });
            }
        };
        if let Some(network) = prepared.proxied.take() {
            self.worker.proxies.end(network, &self.vertex.id, job).await;
        }
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
            return Err(ExecError { error, mounts: prepared.left(exec, &inputs).await });
        }
        Ok(prepared.commit().await?)
    }
}
