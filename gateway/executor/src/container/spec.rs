//! The configuration of an OCI bundle: values in, JSON out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Identity;
use super::granted::HostDevice;
use super::launch::environment;
use super::system::{MASKED, READONLY};
use crate::capabilities;
use crate::process::{ExecProcess, Hook, Network, Process, Resources, Security};
use crate::seccomp;

/// What remains to be mounted inside `/dev`, `/proc` or `/sys`, once the runtime has made those.
#[derive(Debug)]
pub(crate) struct LateMount {
    pub(crate) dest: String,
    pub(crate) source: String,
}

/// A user namespace that a container is made in, with the ids that it has.
#[derive(Debug)]
pub(crate) struct UserNamespace {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Runs of user ids: the first and how many.
    pub(crate) users: Vec<(u32, u32)>,
    /// Runs of group ids.
    pub(crate) groups: Vec<(u32, u32)>,
}

/// What a runtime can use here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    /// Whether it makes control groups.
    pub(crate) control_groups: bool,
    /// Whether there is a group for terminals; in a user namespace it may not be mapped.
    pub(crate) terminal_group: bool,
    /// The user namespace that it is to make the container in.
    pub(crate) namespace: Option<&'a UserNamespace>,
}

/// `config.json` of a container whose root is already mounted, with everything below it.
pub(crate) fn config(
    process: &Process,
    identity: &Identity,
    root: &Path,
    late: &[LateMount],
    devices: &[HostDevice<'_>],
    machine: Machine<'_>,
) -> Value {
    let insecure = process.security == Security::Insecure;
    let masked: &[&str] = if insecure { &[] } else { MASKED };
    let readonly: &[&str] = if insecure { &[] } else { READONLY };
    let mut namespaces = vec!["mount", "pid", "uts", "ipc"];
    if process.network == Network::None {
        namespaces.push("network");
    }
    let mut namespaces: Vec<Value> =
        namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    if let Some(UserNamespace { path, .. }) = machine.namespace {
        namespaces.push(json!({ "type": "user", "path": path }));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": masked,
        "readonlyPaths": readonly,
    });
    if let Some(UserNamespace { users, groups, .. }) = machine.namespace {
        // They are as they are; but some runtimes want to be told.
        linux["uidMappings"] = mappings(users);
        linux["gidMappings"] = mappings(groups);
    }
    // Only a namespace that has the network may mount what shows it.
    let own_sysfs = machine.namespace.is_none() || process.network == Network::None;
    if machine.control_groups {
        linux["cgroupsPath"] = json!(cgroups_path(process));
        linux["resources"] = resources(&process.resources, devices, insecure);
    }
    if !devices.is_empty() {
        linux["devices"] = devices.iter().map(|device| node(device, identity)).collect();
    }
    if !insecure {
        linux["seccomp"] = filter();
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": first_process(process, identity),
        "root": { "path": root, "readonly": process.readonly_rootfs },
        "hostname": process.hostname(),
        "mounts": mounts(insecure, late, machine.terminal_group, own_sysfs),
        "linux": linux,
    });
    if !process.hooks.is_empty() {
        config["hooks"] = hooks(&process.hooks);
    }
    config
}

/// A device of the host that the process was given.
fn node(device: &HostDevice<'_>, identity: &Identity) -> Value {
    json!({
        "path": device.node.path,
        "type": if device.block { "b" } else { "c" },
        "major": device.number.0,
        "minor": device.number.1,
        "fileMode": device.node.mode,
        "uid": device.node.uid.unwrap_or(identity.uid),
        "gid": device.node.gid.unwrap_or(identity.gid),
    })
}

/// Hooks by the moment at which they are started, each list in the order in which they came.
fn hooks(hooks: &[Hook]) -> Value {
    let mut all = serde_json::Map::new();
    for hook in hooks {
        let mut value = json!({ "path": hook.path, "args": hook.args, "env": hook.env });
        if let Some(timeout) = hook.timeout {
            value["timeout"] = json!(timeout);
        }
        let list = all.entry(hook.name.clone()).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(value);
        }
    }
    Value::Object(all)
}

/// The configuration of a second process.
pub(crate) fn exec(process: &ExecProcess, identity: &Identity) -> Value {
    let cwd = Path::new("/").join(&process.cwd);
    let value = Common {
        args: &process.args,
        env: &process.env,
        cwd: &cwd,
        tty: process.tty,
        security: process.security,
    };
    value.json(identity)
}

fn first_process(process: &Process, identity: &Identity) -> Value {
    let common = Common {
        args: &process.args,
        env: &process.env,
        cwd: &process.cwd(),
        tty: process.tty,
        security: process.security,
    };
    let mut value = common.json(identity);
    let limit = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    value["rlimits"] = process
        .ulimits
        .iter()
        .map(|it| {
            let name = format!("RLIMIT_{}", it.name.to_uppercase());
            json!({ "type": name, "soft": limit(it.soft), "hard": limit(it.hard) })
        })
        .collect();
    value
}

/// What first and second processes have in common.
struct Common<'a> {
    args: &'a [String],
    env: &'a [String],
    cwd: &'a Path,
    tty: bool,
    security: Security,
}

impl Common<'_> {
    fn json(&self, identity: &Identity) -> Value {
        let names = capabilities::names(self.security);
        let mut sets = json!({ "bounding": names, "effective": names, "permitted": names });
        if self.security == Security::Insecure {
            sets["inheritable"] = json!(names);
            sets["ambient"] = json!(names);
        }
        let mut process = json!({
            "terminal": self.tty,
            "user": {
                "uid": identity.uid,
                "gid": identity.gid,
                "additionalGids": identity.groups,
                "umask": 0o022,
            },
            "args": self.args,
            "env": environment(self.env, Some(&identity.home)),
            "cwd": self.cwd,
            "capabilities": sets,
            "noNewPrivileges": self.security == Security::Restricted,
        });
        if let Some((rows, columns)) = self.tty.then(crate::stdio::own_size).flatten() {
            process["consoleSize"] = json!({ "height": rows, "width": columns });
        }
        process
    }
}

fn mappings(runs: &[(u32, u32)]) -> Value {
    let one = |(id, size): &(u32, u32)| json!({ "containerID": id, "hostID": id, "size": size });
    runs.iter().map(one).collect()
}

fn mounts(insecure: bool, late: &[LateMount], terminal_group: bool, own_sysfs: bool) -> Vec<Value> {
    let access = if insecure { "rw" } else { "ro" };
    let mount = |kind: &str, dest: &str, options: &[&str]| json!({ "destination": dest, "type": kind, "source": kind, "options": options });
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    terminals.extend(terminal_group.then_some("gid=5"));
    let mut mounts = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", &terminals),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    mounts.push(match own_sysfs {
        true => mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        false => json!({
            "destination": "/sys", "type": "bind", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", access],
        }),
    });
    mounts.extend(late.iter().map(|LateMount { dest, source }| {
        json!({ "destination": dest, "type": "bind", "source": source, "options": ["rbind"] })
    }));
    mounts
}

fn cgroups_path(process: &Process) -> String {
    let parent = process.cgroup_parent.as_deref().unwrap_or_default().trim_matches('/');
    Path::new("/").join(parent).join("buildkit").join(&process.id).to_string_lossy().into_owned()
}

fn resources(resources: &Resources, given: &[HostDevice<'_>], insecure: bool) -> Value {
    let mut devices = vec![json!({ "allow": insecure, "access": "rwm" })];
    if !insecure {
        devices.extend(["c", "b"].map(|it| json!({ "allow": true, "type": it, "access": "m" })));
    }
    devices.extend(given.iter().map(|device| {
        json!({
            "allow": true,
            "type": if device.block { "b" } else { "c" },
            "major": device.number.0,
            "minor": device.number.1,
            "access": device.node.access,
        })
    }));
    json!({
        "devices": devices,
        "memory": { "limit": resources.memory, "swap": resources.memory_swap },
        "cpu": {
            "shares": resources.cpu_shares,
            "period": resources.cpu_period,
            "quota": resources.cpu_quota,
            "cpus": resources.cpuset_cpus,
            "mems": resources.cpuset_mems,
        },
        "pids": resources.pids.map(|limit| json!({ "limit": limit })),
    })
}

/// The rules of the native filter, in the names and argument tests of the runtime.
fn filter() -> Value {
    let refused: Vec<&str> = seccomp::refused_names().collect();
    let namespaces = json!({
        "index": 0, "value": seccomp::NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
    });
    let error = |errno: i32| json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": errno });
    let rule = |names: &[&str], errno: i32, args: Value| {
        let mut rule = error(errno);
        rule["names"] = json!(names);
        rule["args"] = args;
        rule
    };
    // A mask can only be compared for equality, so what is allowed is listed: no namespace flag.
    let mut syscalls = vec![
        rule(&refused, libc::EPERM, json!([])),
        rule(&["clone3"], libc::ENOSYS, json!([])),
        rule(
            &["socket"],
            libc::EPERM,
            json!([{ "index": 0, "value": seccomp::AF_VSOCK, "op": "SCMP_CMP_EQ" }]),
        ),
    ];
    // One rule per flag, each comparing the single bit.
    let flags = (0..32).map(|bit| 1_u32 << bit).filter(|flag| seccomp::NAMESPACE_FLAGS & flag != 0);
    syscalls.extend(flags.map(|flag| {
        let mut test = namespaces.clone();
        test["value"] = json!(flag);
        test["valueTwo"] = json!(flag);
        rule(&["clone"], libc::EPERM, json!([test]))
    }));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls })
}
