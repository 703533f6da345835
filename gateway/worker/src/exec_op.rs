//! The operator of processes.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_cache::CacheMap;
use kiln_engine::{ErrorKind, JobContext, OpError, Operator, Output};
use kiln_executor::{Network, Process, Resources, Security, Stdio, Ulimit};
use kiln_graph::{ContentCache, Exec, ExecMount, NetworkMode, Op, ProxyEnv, SecurityMode, Vertex};
use kiln_oci::Digest;
use kiln_progress::Stream;
use kiln_store::Ref;

use crate::content::{self, Selector};
use crate::exec_mounts::{prepare, secret};
use crate::logs;
use crate::scope;
use crate::worker::{Inner, blocking, failed, path_of, view};

/// The search path of processes that name none (BuildKit's `DefaultPathEnvUnix`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) struct ExecOperator {
    pub(crate) worker: Arc<Inner>,
    pub(crate) vertex: Arc<Vertex>,
}

impl ExecOperator {
    fn op(&self) -> Result<&Exec, OpError> {
        match &self.vertex.op {
            Op::Exec(exec) => Ok(exec),
            _ => Err(OpError::new(ErrorKind::Invalid, "not a process")),
        }
    }

    async fn process(&self, job: &JobContext, exec: &Exec) -> Result<Process, OpError> {
        let limits = &self.vertex.resources;
        let some = |number: i64| (number != 0).then_some(number);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let nothing = kiln_executor::Rootfs::OverlayReadonly { lowers: Vec::new() };
        Ok(Process {
            id: format!("{}-{}", self.vertex.digest.short(), unique()),
            args: exec.args.clone(),
            env: self.environment(job, exec).await?,
            cwd: exec.cwd.clone(),
            user: exec.user.clone(),
            rootfs: nothing,
            readonly_rootfs: false,
            mounts: Vec::new(),
            network: match exec.network {
                NetworkMode::None => Network::None,
                NetworkMode::Default | NetworkMode::Host => Network::Host,
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
    async fn cache_map(&self, _: &JobContext) -> Result<CacheMap, OpError> {
        let mut exec = self.op()?.clone();
        let mut deps = Vec::new();
        for input in 0..self.vertex.inputs.len() {
            deps.push(dependency(&exec, input));
        }
        // What does not change what the process makes does not count.
        exec.proxy = None;
        exec.extra_hosts.iter_mut().for_each(|entry| entry.ip.clear());
        exec.mounts.iter_mut().for_each(|mount| mount.selector.clear());
        let json = serde_json::to_string(&exec).unwrap_or_default();
        let platform = &self.vertex.platform;
        let digest = Digest::sha256(format!("kiln.exec.v1 {} {json}", platform.format_all()));
        let mut map = CacheMap::new(digest, self.vertex.inputs.len());
        map.deps = deps;
        Ok(map)
    }

    async fn content(
        &self,
        _: &JobContext,
        input: usize,
        result: &Output<Ref>,
    ) -> Result<Digest, OpError> {
        let exec = self.op()?;
        let selectors: Vec<Selector> = mounts_of(exec, input)
            .map(|mount| Selector {
                path: scope::clean(&mount.selector),
                follow: true,
                optional: true,
                ..Selector::default()
            })
            .collect();
        let mounted = view(result.as_ref()).await?;
        blocking(move || {
            content::digest(path_of(mounted.as_ref()), &selectors).map_err(|error| failed(&error))
        })
        .await
    }

    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, OpError> {
        let exec = self.op()?;
        let prepared = prepare(&self.worker, job, exec, &inputs).await?;
        let mut process = self.process(job, exec).await?;
        process.rootfs = prepared.rootfs.clone();
        process.readonly_rootfs = prepared.readonly_rootfs;
        process.mounts = prepared.mounts.clone();
        let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&error))?;
        drop(pipes.stdin);
        let started = self.worker.executor.start(process, stdio);
        let output = async {
            tokio::join!(
                logs::forward(job.clone(), Stream::Stdout, pipes.stdout),
                logs::forward(job.clone(), Stream::Stderr, pipes.stderr)
            )
        };
        let ended = async {
            let mut running = started.await.map_err(|error| failed(&error))?;
            running.wait().await.map_err(|error| failed(&error))
        };
        let (status, _) = tokio::join!(ended, output);
        let status = status.map_err(|error| {
            error.context(format!("process \"{}\" could not be run", exec.args.join(" ")))
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
            return Err(OpError { exit_code: Some(status.code), ..error });
        }
        prepared.commit().await
    }
}

fn mounts_of(exec: &Exec, input: usize) -> impl Iterator<Item = &ExecMount> {
    exec.mounts.iter().filter(move |mount| mount.input == Some(input))
}

/// How an input counts: by content where the process cannot change it.
fn dependency(exec: &Exec, input: usize) -> kiln_cache::CacheDep {
    let by_content = |mount: &ExecMount| {
        let safe =
            mount.output.is_none() || mount.readonly || mount.selector.trim_matches('/').is_empty();
        match mount.content_cache {
            ContentCache::Off => false,
            ContentCache::On => safe,
            ContentCache::Default => safe && mount.dest != "/",
        }
    };
    let mut selectors: Vec<&str> =
        mounts_of(exec, input).map(|mount| mount.selector.as_str()).collect();
    selectors.sort_unstable();
    let selected = selectors.iter().any(|selector| !selector.trim_matches('/').is_empty());
    kiln_cache::CacheDep {
        selector: selected.then(|| Digest::sha256(selectors.join("\0"))),
        by_content: mounts_of(exec, input).all(by_content),
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

/// Tells processes of the same vertex apart.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
