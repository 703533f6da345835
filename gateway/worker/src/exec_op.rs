//! The operator of processes.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_engine::{ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output};
use kiln_executor::{Network, Process, Resources, Security, Ulimit};
use kiln_graph::{Exec, NetworkMode, Op, ProxyEnv, SecurityMode, Vertex};
use kiln_keys::ContentQuery;
use kiln_oci::Digest;
use kiln_store::Ref;

use crate::exec_mounts::{prepare, secret};
use crate::foreign;
use crate::steps::Step;
use crate::vertex_map::{VertexMap, content_of};
use crate::worker::Inner;

/// The search path of processes that name none (BuildKit's `DefaultPathEnvUnix`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

    async fn process(&self, job: &JobContext, exec: &Exec) -> Result<Process, OpError> {
        let limits = &self.vertex.metadata.resources;
        let some = |number: i64| (number != 0).then_some(number);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let nothing = kiln_executor::Rootfs::OverlayReadonly { lowers: Vec::new() };
        Ok(Process {
            id: kiln_executor::unique_id(self.vertex.digest.short()),
            args: exec.args.clone(),
            env: self.environment(job, exec).await?,
            cwd: exec.cwd.clone(),
            user: exec.user.clone(),
            rootfs: nothing,
            readonly_rootfs: false,
            mounts: Vec::new(),
            network: match exec.network {
                NetworkMode::None => Network::None,
                NetworkMode::Default => Network::Default,
                NetworkMode::Host => Network::Host,
            },
            security: match exec.security {
                SecurityMode::Sandbox => Security::Sandbox,
                SecurityMode::Insecure => Security::Insecure,
            },
            hostname: exec.hostname.clone(),
            extra_hosts: exec
                .extra_hosts
                .iter()
                .map(|entry| (entry.host.clone(), entry.ip.clone()))
                .collect(),
            ulimits: exec
                .ulimits
                .iter()
                .map(|limit| Ulimit {
                    name: limit.name.clone(),
                    soft: limit.soft,
                    hard: limit.hard,
                })
                .collect(),
            tty: false,
            cgroup_parent: text(&exec.cgroup_parent),
            resources: Resources {
                memory: some(limits.memory),
                memory_swap: some(limits.memory_swap),
                cpu_shares: Some(limits.cpu_shares).filter(|shares| *shares > 0),
                cpu_period: Some(limits.cpu_period).filter(|period| *period > 0),
                cpu_quota: some(limits.cpu_quota),
                cpuset_cpus: text(&limits.cpuset_cpus),
                cpuset_mems: text(&limits.cpuset_mems),
                ..Resources::default()
            },
            remove_mount_stubs: true,
            resolv_conf: None,
        })
    }

    async fn environment(&self, job: &JobContext, exec: &Exec) -> Result<Vec<String>, OpError> {
        let mut env = exec.env.clone();
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.insert(0, DEFAULT_PATH.to_owned());
        }
        if let Some(proxy) = &exec.proxy {
            env.extend(proxy_variables(proxy));
        }
        for variable in &exec.secret_env {
            if let Some(value) = secret(&self.worker, job, &variable.id, variable.optional).await? {
                env.push(format!("{}={}", variable.name, String::from_utf8_lossy(&value)));
            }
        }
        Ok(env)
    }
}

#[async_trait]
impl Operator<Ref> for ExecOperator {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        self.map.of(&self.vertex).cloned().map(Keyed::from)
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        query: &ContentQuery,
        result: &Output<Ref>,
    ) -> Result<Digest, OpError> {
        content_of(&self.worker, query.clone(), result.as_ref()).await
    }

    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, ExecError<Ref>> {
        let exec = self.op()?;
        let prepared = prepare(&self.worker, job, exec, &inputs).await?;
        let mut process = self.process(job, exec).await?;
        process.rootfs = prepared.rootfs.clone();
        process.readonly_rootfs = prepared.readonly_rootfs;
        process.mounts = prepared.mounts.clone();
        let executor = Arc::clone(&self.worker.executor);
        let step = Step { executor, process, prepared, job: job.clone() };
        let (status, prepared) = self.worker.steps.run(step).await.map_err(|error| {
            let native = &self.worker.info.platforms;
            foreign::could_not_run(&exec.args, &self.vertex.platform, native, error)
        })?;
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
            return Err(OpError { exit_code: Some(status.code), ..error }.into());
        }
        Ok(prepared.commit().await?)
    }
}

/// Proxy variables in both spellings, as programs read them.
fn proxy_variables(proxy: &ProxyEnv) -> Vec<String> {
    let pairs = [
        ("HTTP_PROXY", &proxy.http),
        ("HTTPS_PROXY", &proxy.https),
        ("FTP_PROXY", &proxy.ftp),
        ("NO_PROXY", &proxy.no),
        ("ALL_PROXY", &proxy.all),
    ];
    let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    set.flat_map(|(name, value)| {
        [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())]
    })
    .collect()
}
