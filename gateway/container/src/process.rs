//! A process for the executor, made of what its spec says: everything but its mounts.

use kiln_engine::{JobContext, OpError};
use kiln_executor::{Network, Process, Resources, Rootfs, Security, Ulimit, unique_id};
use kiln_graph::{Exec, NetworkMode, ProxyEnv, SecurityMode};
use kiln_network::ProxiedNetwork;
use kiln_oci::Platform;

use crate::containers::Inner;
use crate::devices;
use crate::secrets::secret;
use crate::spec::ProcessSpec;

/// The search path of processes that name none (BuildKit's `DefaultPathEnvUnix`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The same for programs of Windows.
const WINDOWS_PATH: &str =
    r"PATH=c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0";

/// A process with its network. What it shares with others in its container, which are its root and its
/// mounts, is added by [`PreparedMounts::attach`](crate::mounts::PreparedMounts::attach).
pub(crate) async fn process(
    machine: &Inner,
    job: &JobContext,
    spec: &ProcessSpec,
) -> Result<(Process, Option<ProxiedNetwork>), OpError> {
    let exec = &spec.exec;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let edits = devices::edits(machine, exec).await?;
    let mut process = Process {
        id: unique_id(&spec.name),
        args: exec.args.clone(),
        env: environment(machine, job, exec, &spec.platform).await?,
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        rootfs: Rootfs::OverlayReadonly { lowers: Vec::new() },
        readonly_rootfs: false,
        mounts: spec.host_mounts.iter().cloned().chain(devices::mounts(&edits)).collect(),
        network: match exec.network {
            NetworkMode::None => Network::None,
            NetworkMode::Default => Network::Default,
            NetworkMode::Host => Network::Host,
        },
        security: match exec.security {
            _ if spec.restricted => Security::Restricted,
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
            .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        tty: false,
        cgroup_parent: text(&exec.cgroup_parent),
        resources: spec.resources.clone(),
        remove_mount_stubs: true,
        resolv_conf: spec.restricted.then(|| "/dev/null".into()),
        emulation: machine.emulators.of(&spec.platform, job).await?,
        devices: Vec::new(),
        groups: Vec::new(),
        hooks: Vec::new(),
        trusted: None,
    };
    devices::apply(edits, &mut process);
    let host = exec.network == NetworkMode::Host;
    let network = machine.proxies.connect(exec.proxied.as_ref(), host, &mut process).await?;
    Ok((process, network))
}

/// The limits of an exec op, for the cgroup of its process.
pub fn limits(limits: &kiln_graph::Resources) -> Resources {
    let some = |number: i64| (number != 0).then_some(number);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Resources {
        memory: some(limits.memory),
        memory_swap: some(limits.memory_swap),
        cpu_shares: Some(limits.cpu_shares).filter(|shares| *shares > 0),
        cpu_period: Some(limits.cpu_period).filter(|period| *period > 0),
        cpu_quota: some(limits.cpu_quota),
        cpuset_cpus: text(&limits.cpuset_cpus),
        cpuset_mems: text(&limits.cpuset_mems),
        ..Resources::default()
    }
}

async fn environment(
    machine: &Inner,
    job: &JobContext,
    exec: &Exec,
    platform: &Platform,
) -> Result<Vec<String>, OpError> {
    let mut env = exec.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        let path = if platform.os == "windows" { WINDOWS_PATH } else { DEFAULT_PATH };
        env.insert(0, path.to_owned());
    }
    if let Some(proxy) = &exec.proxy {
        env.extend(proxy_variables(proxy));
    }
    for variable in &exec.secret_env {
        if let Some(value) = secret(machine, job, &variable.id, variable.optional).await? {
            env.push(format!("{}={}", variable.name, String::from_utf8_lossy(&value)));
        }
    }
    Ok(env)
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
