//! Containers of a build's frontend: what the protocol asks, in the words of `kiln_container`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_container::{ContainerParts, Ended};
use kiln_engine::{ErrorKind, OpError};
use kiln_executor::{Pipes, Stdio, Terminal};
use kiln_frontend::containers::{
    self, Container, ContainerRequest, Containers, Order, Process, ProcessRequest, exited, lost,
};
use kiln_frontend::grpc::platform_from_wire;
use kiln_frontend::{Bridge as _, FileRange, FileStat, FrontendError, Ref};
use kiln_graph::{
    Entitlements, Exec, HostEntry, NetworkMode, ProxyNetwork, exec_mounts, exec_process,
};
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::proto::gateway as wire;
use kiln_wire::status::RichStatus;
use rustix::fd::OwnedFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Code;

use crate::BuildBridge;
use crate::build_bridge::stat;
use crate::constraints::check_filters;
use crate::error::op_status;

/// The size of a terminal until the far side tells it.
const TERMINAL: (u16, u16) = (24, 80);

/// A container, and what all its processes have in common.
struct BuildContainer {
    container: kiln_container::Container,
    network: i32,
    hostname: String,
    extra_hosts: Vec<HostEntry>,
    entitlements: Entitlements,
    /// The network of its processes is a proxy, of those that have one.
    proxy: Option<ProxyNetwork>,
    started: AtomicBool,
}

#[async_trait]
impl Containers for BuildBridge {
    async fn create(&self, request: ContainerRequest) -> Result<Arc<dyn Container>, FrontendError> {
        let request = wire::NewContainerRequest::from(request);
        check_hosts(&request.extra_hosts)?;
        let filters = request.constraints.unwrap_or_default().filter;
        let worker = self.worker().info();
        check_filters(&filters, &worker.id, &worker.labels, || "the container".into())?;
        let mut inputs = Vec::new();
        let mut mounts = request.mounts;
        for mount in &mut mounts {
            (mount.input, mount.output) = (-1, -1);
            if !mount.result_id.is_empty() {
                mount.input = i64::try_from(inputs.len()).unwrap_or(i64::MAX);
                inputs.push(self.result(&Ref(std::mem::take(&mut mount.result_id))).await?);
            }
        }
        let mounts = exec_mounts(mounts, inputs.len());
        let mounts = mounts.map_err(|error| invalid(&format!("container: {error}")))?;
        let platform = request.platform.map(platform_from_wire);
        let parts = ContainerParts {
            mounts: Exec { mounts, ..Exec::default() },
            inputs,
            platform: platform.unwrap_or_else(|| self.info().default_platform()),
            job: self
                .process_context(Digest::sha256(format!("container {}", request.container_id))),
        };
        let container = self.worker().containers().open(parts).await;
        let container = container.map_err(|error| op_status(&error))?;
        let host = |host: pb::HostIp| HostEntry { host: host.host, ip: host.ip };
        Ok(Arc::new(BuildContainer {
            container,
            network: request.network,
            hostname: request.hostname,
            extra_hosts: request.extra_hosts.into_iter().map(host).collect(),
            entitlements: self.entitlements(),
            proxy: self.proxy_network(),
            started: AtomicBool::new(false),
        }))
    }
}

impl BuildContainer {
    /// The process that is asked for, if it is one and may run.
    fn exec(&self, init: wire::InitMessage) -> Result<Exec, RichStatus> {
        let asked = pb::ExecOp {
            meta: init.meta,
            network: self.network,
            security: init.security,
            secretenv: init.secretenv,
            ..pb::ExecOp::default()
        };
        let exec = exec_process(asked).map_err(|error| invalid(&format!("process: {error}")))?;
        if let Some(variable) = exec.secret_env.iter().find(|variable| variable.id.is_empty()) {
            let name = &variable.name;
            return Err(invalid(&format!("secret ID missing for {name:?} environment variable")));
        }
        if !exec.valid_exit_codes.is_empty() {
            return Err(invalid("valid exit codes are for steps: a container tells how it ended"));
        }
        if self.is_started() && !(exec.ulimits.is_empty() && exec.cgroup_parent.is_empty()) {
            let message = "ulimits and a control group are for the first process of a container";
            return Err(invalid(message));
        }
        let (hostname, extra_hosts) = (self.hostname.clone(), self.extra_hosts.clone());
        let proxied = self.proxy.clone().filter(|_| exec.network != NetworkMode::None);
        let exec = Exec { hostname, extra_hosts, proxied, ..exec };
        let denied = |error: kiln_graph::LoadError| {
            RichStatus::new(Code::PermissionDenied, error.to_string())
        };
        self.entitlements.check(&exec).map_err(denied)?;
        Ok(exec)
    }
}

#[async_trait]
impl Container for BuildContainer {
    async fn start(&self, process: ProcessRequest) -> Result<Process, FrontendError> {
        let init = wire::InitMessage::from(process);
        let (tty, fds) = (init.tty, init.fds.clone());
        let exec = self.exec(init)?;
        self.started.store(true, Ordering::Relaxed);
        let streams = Streams::open(&fds, tty).map_err(|error| {
            op_status(&OpError::new(ErrorKind::Failed, format!("make the streams: {error}")))
        })?;
        let Streams { stdio, stdin, outputs } = streams;
        let started = self.container.start(&exec, tty, stdio).await;
        let started = started.map_err(|error| op_status(&error))?;
        let orders = started.orders();
        let ended = async move {
            match started.ended().await {
                Ok(Ended::Exited(code)) => exited(code),
                Ok(Ended::Cancelled) => lost(containers::cancelled()),
                Err(error) => lost(op_status(&error).into()),
            }
        };
        Ok(Process {
            stdin,
            outputs,
            orders: Box::new(move |order| {
                orders(match order {
                    Order::Signal(signal) => kiln_container::Order::Signal(signal),
                    Order::Resize(rows, columns) => kiln_container::Order::Resize(rows, columns),
                });
            }),
            ended: Box::pin(ended),
        })
    }

    fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    fn release(&self) {
        self.container.release();
    }

    async fn ended(&self) -> Result<(), FrontendError> {
        match self.container.ended().await {
            None => Ok(()),
            Some(Ended::Exited(code)) => Err(containers::failed_with(code)),
            Some(Ended::Cancelled) => Err(containers::cancelled()),
        }
    }

    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let range = range.map(|range| (range.offset, range.length));
        let data = self.container.read_file(mount, path, range).await;
        data.map(Bytes::from).map_err(|error| op_status(&error).into())
    }

    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let list = self.container.read_dir(mount, path, include_pattern).await;
        let list = list.map_err(|error| op_status(&error))?;
        Ok(list.into_iter().map(stat).collect())
    }

    async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, FrontendError> {
        let found = self.container.stat_file(mount, path).await;
        found.map(stat).map_err(|error| op_status(&error).into())
    }
}

/// The streams of a process and our ends of those that the far side opened.
struct Streams {
    stdio: Stdio,
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    outputs: Vec<(u32, Box<dyn AsyncRead + Send + Unpin>)>,
}

impl Streams {
    fn open(fds: &[u32], tty: bool) -> std::io::Result<Self> {
        match tty {
            true => Self::terminal(fds),
            false => Self::pipes(fds),
        }
    }

    /// All that a process writes to its terminal is its standard output.
    fn terminal(fds: &[u32]) -> std::io::Result<Self> {
        let (stdio, master) = Stdio::terminal(TERMINAL.0, TERMINAL.1)?;
        let terminal = Terminal::new(master)?;
        let stdin = fds.contains(&0).then(|| Box::new(terminal.clone()) as Box<_>);
        // What is written has to be read even if it goes nowhere.
        let outputs = vec![(1, Box::new(terminal) as Box<_>)];
        Ok(Self { stdio, stdin, outputs })
    }

    fn pipes(fds: &[u32]) -> std::io::Result<Self> {
        let (mut stdio, Pipes { stdin, stdout, stderr }) = Stdio::piped()?;
        let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        let stdin = if fds.contains(&0) {
            Some(Box::new(stdin) as Box<_>)
        } else {
            stdio.stdin = None;
            None
        };
        let mut outputs = Vec::new();
        for (fd, end, ours) in [(1, &mut stdio.stdout, stdout), (2, &mut stdio.stderr, stderr)] {
            if fds.contains(&fd) {
                outputs.push((fd, Box::new(ours) as Box<_>));
            } else {
                *end = OwnedFd::from(null()?);
            }
        }
        Ok(Self { stdio, stdin, outputs })
    }
}

/// Whether addresses for /etc/hosts are addresses.
fn check_hosts(hosts: &[pb::HostIp]) -> Result<(), RichStatus> {
    match hosts.iter().find(|host| host.ip.parse::<std::net::IpAddr>().is_err()) {
        Some(host) => {
            Err(invalid(&format!("extra host {}: {:?} is no IP address", host.host, host.ip)))
        }
        None => Ok(()),
    }
}

fn invalid(message: &str) -> RichStatus {
    RichStatus::new(Code::InvalidArgument, message)
}
