//! Options of a vector: constraints, values of states, options of commands, mounts.

use kiln_llb::{
    CapSet, Constraints, ContentCache, Device, Exec, LinuxResources, Marshal, Mount, MountKind,
    NetMode, ProgressGroup, Proxy, Run, Secret, SecurityMode, Sharing, SourceLocation,
    SourcePosition, SourceRange, Ssh, State, Ulimit, words,
};
use kiln_oci::{ImageConfig, Platform};
use serde_json::Value;

use super::{Graph, flag, list, number, octal, text, texts};

/// The key and value of an option.
fn option(value: &Value) -> (&str, &Value) {
    let (key, value) = value.as_object().unwrap().iter().next().unwrap();
    (key, value)
}

pub(super) fn constraints(options: &Value, graph: &Graph) -> Constraints {
    let mut said = Constraints::default();
    for value in list(options) {
        let (key, value) = option(value);
        constrain(&mut said, key, value, graph);
    }
    said
}

fn constrain(said: &mut Constraints, key: &str, value: &Value, graph: &Graph) -> bool {
    match key {
        "platform" => said.platform = Some(platform(value)),
        "description" => {
            let words = value.as_object().unwrap().iter();
            said.description.extend(words.map(|(key, value)| (key.clone(), text(value))));
        }
        "custom_name" => said.custom_name = Some(text(value)),
        "ignore_cache" => said.ignore_cache = true,
        "export_cache" => said.export_cache = value.as_bool(),
        "default_export_cache" => said.export_cache = None,
        "progress_group" => {
            let (id, name) = (text(&value["id"]), text(&value["name"]));
            said.progress_group = Some(
                ProgressGroup::default()
                    .with_id(id)
                    .with_name(name)
                    .with_weak(flag(&value["weak"])),
            );
        }
        "require" => said.require.extend(texts(value)),
        "local_unique_id" => said.local_unique_id = Some(text(value)),
        "location" => said.locations.push(location(value, graph)),
        "caps" => {}
        _ => return limit(said, key, value),
    }
    true
}

fn limit(said: &mut Constraints, key: &str, value: &Value) -> bool {
    let mut limits = said.linux_resources.clone().unwrap_or_default();
    match key {
        "memory" => limits.memory_bytes = number(value),
        "memory_swap" => limits.memory_swap_bytes = number(value),
        "cpu_shares" => limits.cpu_shares = number(value),
        "cpu_period" => limits.cpu_period_micros = number(value),
        "cpu_quota" => limits.cpu_quota_micros = number(value),
        "cpuset_cpus" => limits.cpuset_cpus = text(value),
        "cpuset_mems" => limits.cpuset_mems = text(value),
        "linux_resources" => {
            limits = LinuxResources::default()
                .with_memory_bytes(number(&value["memory"]))
                .with_memory_swap_bytes(number(&value["memory_swap"]))
                .with_cpu_shares(number(&value["cpu_shares"]))
                .with_cpu_period_micros(number(&value["cpu_period"]))
                .with_cpu_quota_micros(number(&value["cpu_quota"]))
                .with_cpuset_cpus(text(&value["cpuset_cpus"]))
                .with_cpuset_mems(text(&value["cpuset_mems"]));
        }
        _ => return false,
    }
    said.linux_resources = Some(limits);
    true
}

fn location(value: &Value, graph: &Graph) -> SourceLocation {
    let range = |range: &Value| SourceRange {
        start: SourcePosition { line: number(&range[0]), character: number(&range[1]) },
        end: SourcePosition { line: number(&range[2]), character: number(&range[3]) },
    };
    graph.maps[value["source_map"].as_str().unwrap()]
        .location(list(&value["ranges"]).iter().map(range))
}

pub(super) fn marshal_options<'a>(options: &Value, graph: &Graph) -> Marshal<'a> {
    let mut marshal = Marshal::default().with_overrides(constraints(options, graph));
    for value in list(options) {
        if let ("caps", value) = option(value) {
            let caps = texts(&value["disable"]);
            marshal.caps = Some(caps.iter().fold(CapSet::all(), |all, cap| all.without(cap)));
        }
    }
    marshal
}

fn platform(value: &Value) -> Platform {
    Platform {
        architecture: text(&value["architecture"]),
        os: text(&value["os"]),
        os_version: text(&value["os_version"]),
        os_features: texts(&value["os_features"]),
        variant: text(&value["variant"]),
    }
}

/// Configs of vectors may lack a platform, those of images may not.
pub(super) fn image_config(value: &Value) -> ImageConfig {
    let mut value = value.clone();
    for key in ["architecture", "os"] {
        value.as_object_mut().unwrap().entry(key).or_insert("".into());
    }
    serde_json::from_value(value).unwrap()
}

fn network(value: &Value) -> NetMode {
    match value.as_str().unwrap() {
        "host" => NetMode::Host,
        "none" => NetMode::None,
        _ => NetMode::Sandbox,
    }
}

fn security(value: &Value) -> SecurityMode {
    match value.as_str().unwrap() {
        "insecure" => SecurityMode::Insecure,
        _ => SecurityMode::Sandbox,
    }
}

fn ulimit(value: &Value) -> Ulimit {
    let (soft, hard) = (number(&value["soft"]), number(&value["hard"]));
    Ulimit::default().with_name(text(&value["name"])).with_soft(soft).with_hard(hard)
}

pub(super) fn with(base: State, options: &Value, graph: &Graph) -> State {
    list(options).iter().fold(base, |state, value| {
        let (key, value) = option(value);
        match key {
            "env" => state.with_env(text(&value[0]), text(&value[1])),
            "dir" => state.with_dir(text(value)),
            "user" => state.with_user(text(value)),
            "hostname" => state.with_hostname(text(value)),
            "network" => state.with_network(network(value)),
            "security" => state.with_security(security(value)),
            "platform" => state.with_platform(platform(value)),
            "extra_host" => {
                state.with_extra_host(text(&value[0]), text(&value[1]).parse().unwrap())
            }
            "ulimit" => state.with_ulimit(ulimit(value)),
            "cgroup_parent" => state.with_cgroup_parent(text(value)),
            "reset" => state.with_values_of(&graph.state(value)),
            "image_config" => state.with_image_config(&image_config(value)),
            other => panic!("unknown state option {other}"),
        }
    })
}

pub(super) fn run(base: &State, options: &Value, graph: &Graph) -> Run {
    let mut exec = Exec::default();
    for value in list(options) {
        let (key, value) = option(value);
        if !constrain(&mut exec.constraints, key, value, graph) {
            run_option(&mut exec, key, value, graph);
        }
    }
    base.run(exec)
}

fn run_option(exec: &mut Exec, key: &str, value: &Value, graph: &Graph) {
    match key {
        "args" => exec.args = texts(value),
        "shlex" => exec.args = words(value.as_str().unwrap()).unwrap(),
        "env" => exec.env.push((text(&value[0]), text(&value[1]))),
        "dir" => exec.dir = text(value),
        "user" => exec.user = text(value),
        "hostname" => exec.hostname = text(value),
        "network" => exec.network = Some(network(value)),
        "security" => exec.security = Some(security(value)),
        "extra_host" => {
            exec.extra_hosts.push((text(&value[0]), text(&value[1]).parse().unwrap()));
        }
        "ulimit" => exec.ulimits.push(ulimit(value)),
        "cgroup_parent" => exec.cgroup_parent = text(value),
        "valid_exit_codes" => {
            exec.valid_exit_codes = Some(list(value).iter().map(number).collect());
        }
        "readonly_rootfs" => exec.readonly_root = flag(value),
        "proxy" => {
            exec.proxy = Some(
                Proxy::default()
                    .with_http(text(&value["http_proxy"]))
                    .with_https(text(&value["https_proxy"]))
                    .with_ftp(text(&value["ftp_proxy"]))
                    .with_no_proxy(text(&value["no_proxy"]))
                    .with_all(text(&value["all_proxy"])),
            );
        }
        "mount" => exec.mounts.push(mount(value, graph)),
        "secret" => exec.secrets.push(secret(value)),
        "ssh" => exec.ssh.push(ssh(value)),
        "device" => {
            exec.devices.push(
                Device::default()
                    .with_name(text(&value["name"]))
                    .with_optional(flag(&value["optional"])),
            );
        }
        other => panic!("unknown run option {other}"),
    }
}

pub(super) fn mount(value: &Value, graph: &Graph) -> Mount {
    let mut mount = Mount::bind(text(&value["target"]), &graph.state(&value["source"]));
    mount.source_path = text(&value["source_path"]);
    mount.readonly = flag(&value["readonly"]);
    mount.no_output = flag(&value["force_no_output"]);
    mount.content_cache = match text(&value["content_cache"]).as_str() {
        "on" => ContentCache::On,
        "off" => ContentCache::Off,
        _ => ContentCache::Default,
    };
    let (cache, tmpfs) = (&value["cache"], &value["tmpfs"]);
    if cache.is_object() {
        let sharing = match text(&cache["sharing"]).as_str() {
            "private" => Sharing::Private,
            "locked" => Sharing::Locked,
            _ => Sharing::Shared,
        };
        mount.kind = MountKind::Cache { id: text(&cache["id"]), sharing };
    } else if tmpfs.is_object() {
        mount.kind = MountKind::Tmpfs { size_bytes: number(&tmpfs["size"]) };
    }
    mount
}

fn secret(value: &Value) -> Secret {
    let (id, target) = match value["with_dest"].as_object() {
        Some(_) => {
            let names = &value["with_dest"];
            (text(&names["src"]), names["dest"].as_str().map(str::to_owned))
        }
        None => (text(&value["dest"]), Some(text(&value["dest"]))),
    };
    let mut secret = Secret::env(id, "").with_target(target).with_env(None::<String>);
    if let Some(id) = value["id"].as_str() {
        secret.id = id.into();
    }
    secret.optional = flag(&value["optional"]);
    if flag(&value["as_env"]) {
        let id = &secret.id;
        secret.env = Some(secret.target.take().unwrap_or_else(|| id.clone()));
    }
    if let Some(name) = value["env_name"].as_str() {
        secret.env = Some(name.into());
    }
    let file = &value["file"];
    if file.is_object() {
        secret.uid = number(&file["uid"]);
        secret.gid = number(&file["gid"]);
        secret.mode = octal(&file["mode"]).unwrap_or_default();
    }
    secret
}

fn ssh(value: &Value) -> Ssh {
    let mut ssh = Ssh::default().with_id(text(&value["id"]));
    ssh.target = text(&value["target"]);
    ssh.optional = flag(&value["optional"]);
    let options = &value["opt"];
    if options.is_object() {
        ssh.target = text(&options["target"]);
        ssh.uid = number(&options["uid"]);
        ssh.gid = number(&options["gid"]);
        ssh.mode = octal(&options["mode"]).unwrap_or_default();
    }
    ssh
}
