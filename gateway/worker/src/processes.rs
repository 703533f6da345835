//! What a process is started with, whoever asks for it: an operation or a container of a frontend.

use kiln_engine::{JobContext, OpError};
use kiln_executor::{Network, Process, Resources, Security, Ulimit};
use kiln_graph::{Exec, NetworkMode, ProxyEnv, SecurityMode};
use kiln_oci::Platform;

use crate::exec_mounts::secret;
use crate::worker::Inner;

/// The search path of processes that name none (BuildKit's `DefaultPathEnvUnix`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The same for programs of Windows.
const WINDOWS_PATH: &str =
    r"PATH=c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0";

/// A process without root, mounts and limits, which the caller adds.
pub(crate) async fn process(
    worker: &Inner,
    job: &JobContext,
    exec: &Exec,
    platform: &Platform,
    id: String,
) -> Result<Process, OpError> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let nothing = kiln_executor::Rootfs::OverlayReadonly { lowers: Vec::new() };
    Ok(Process {
        id,
        args: exec.args.clone(),
        env: environment(worker, job, exec, platform).await?,
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
            .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        tty: false,
        cgroup_parent: text(&exec.cgroup_parent),
        resources: Resources::default(),
        remove_mount_stubs: true,
        resolv_conf: None,
        emulation: worker.emulators.of(platform, job).await?,
        devices: Vec::new(),
        groups: Vec::new(),
        hooks: Vec::new(),
        trusted: None,
    })
}

/// The limits of a step.
pub(crate) fn resources(limits: &kiln_graph::Resources) -> Resources {
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
    worker: &Inner,
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
        if let Some(value) = secret(worker, job, &variable.id, variable.optional).await? {
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
