//! A process as facts.

use std::collections::BTreeMap;

use kiln_oci::Platform;
use kiln_pb::pb;
use kiln_pb::pb::{CacheSharingOpt, MountContentCache, MountType, NetMode, SecurityMode};

use crate::fact::{Fact, What};

pub(super) fn facts(exec: &pb::ExecOp, platform: &Platform) -> Vec<Fact> {
    let mut facts = Vec::new();
    let meta = exec.meta.clone().unwrap_or_default();
    facts.push(command(&meta.args));
    variables(&meta.env, &mut facts);
    facts.push(Fact::new(What::WorkingDirectory, meta.cwd.as_str()));
    facts.push(Fact::new(What::User, meta.user.as_str()));
    let network = match NetMode::try_from(exec.network) {
        Ok(NetMode::Unset) => "default".to_owned(),
        Ok(NetMode::Host) => "host".to_owned(),
        Ok(NetMode::None) => "none".to_owned(),
        Err(_) => exec.network.to_string(),
    };
    facts.push(Fact::new(What::Network, network));
    let security = match SecurityMode::try_from(exec.security) {
        Ok(SecurityMode::Sandbox) => "sandbox".to_owned(),
        Ok(SecurityMode::Insecure) => "insecure".to_owned(),
        Err(_) => exec.security.to_string(),
    };
    facts.push(Fact::new(What::Security, security));
    hosts(&meta, &mut facts);
    limits(&meta, &mut facts);
    let setting = |name: &str, value: String| Fact::named(What::Setting, name, value);
    let settings = [
        ("hostname", meta.hostname.clone()),
        ("cgroup parent", meta.cgroup_parent.clone()),
        ("removal of mount stubs", flag(meta.remove_mount_stubs_recursive, "recursive")),
        ("valid exit codes", list(meta.valid_exit_codes.iter())),
    ];
    let settings = settings.into_iter().filter(|(_, value)| !value.is_empty());
    facts.extend(settings.map(|(name, value)| setting(name, value)));
    numbered(
        &mut facts,
        exec.cdi_devices.iter().map(|device| {
            let optional = flag(device.optional, "optional");
            Fact::named(What::Setting, format!("device {}", device.name), format!("set {optional}"))
        }),
    );
    numbered(
        &mut facts,
        exec.secretenv.iter().map(|secret| {
            let value = words([format!("id={}", secret.id), flag(secret.optional, "optional")]);
            Fact::named(What::Secret, format!("${}", secret.name), value)
        }),
    );
    numbered(&mut facts, exec.mounts.iter().map(mount));
    let order = exec.mounts.iter().map(|mount| mount.dest.as_str());
    facts.push(Fact::named(What::Order, "mounts", order.collect::<Vec<_>>().join(" ")));
    let secrets = exec.secretenv.iter().map(|secret| secret.name.as_str());
    facts.push(Fact::named(What::Order, "secrets", secrets.collect::<Vec<_>>().join(" ")));
    facts.push(Fact::new(What::Platform, platform.format_all()).shown(platform.format()));
    facts
}

/// A command as it is typed; without the shell, if it is one that only passes a text on.
fn command(args: &[String]) -> Fact {
    let shown = match args {
        [shell, flag, text] if shell.ends_with("sh") && flag == "-c" => text.clone(),
        args => args.join(" "),
    };
    Fact::new(What::Command, args.join("\u{1f}")).shown(shown)
}

fn variables(env: &[String], facts: &mut Vec<Fact>) {
    numbered(
        facts,
        env.iter().map(|variable| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, "\u{0}unset"));
            Fact::named(What::Variable, name, value)
        }),
    );
    let names = env.iter().map(|variable| variable.split('=').next().unwrap_or_default());
    facts.push(Fact::named(What::Order, "variables", names.collect::<Vec<_>>().join(" ")));
}

fn hosts(meta: &pb::Meta, facts: &mut Vec<Fact>) {
    // Their addresses do not count.
    numbered(
        facts,
        meta.extra_hosts.iter().map(|host| {
            Fact::named(
                What::Host,
                host.host.as_str(),
                words(["known".to_owned(), host.ip.clone()]),
            )
        }),
    );
    let order = meta.extra_hosts.iter().map(|host| host.host.as_str());
    facts.push(Fact::named(What::Order, "hosts", order.collect::<Vec<_>>().join(" ")));
}

fn limits(meta: &pb::Meta, facts: &mut Vec<Fact>) {
    numbered(
        facts,
        meta.ulimit.iter().map(|limit| {
            let value = format!("{}:{}", limit.soft, limit.hard);
            Fact::named(What::Limit, limit.name.as_str(), value)
        }),
    );
    let order = meta.ulimit.iter().map(|limit| limit.name.as_str());
    facts.push(Fact::named(What::Order, "limits", order.collect::<Vec<_>>().join(" ")));
}

/// Adds facts; of those that have the same name, the later ones are numbered.
fn numbered(facts: &mut Vec<Fact>, more: impl Iterator<Item = Fact>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for mut fact in more {
        let count = seen.entry(fact.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            fact.name = format!("{} ({count})", fact.name);
        }
        facts.push(fact);
    }
}

/// Everything of a mount but its place. Which input and output it is counts, but says little.
fn mount(mount: &pb::Mount) -> Fact {
    let what = match MountType::try_from(mount.mount_type) {
        Ok(MountType::Secret) => What::Secret,
        Ok(MountType::Ssh) => What::Ssh,
        _ => What::Mount,
    };
    let kind = match MountType::try_from(mount.mount_type) {
        Ok(MountType::Bind) => "type=bind".to_owned(),
        Ok(MountType::Cache) => "type=cache".to_owned(),
        Ok(MountType::Tmpfs) => "type=tmpfs".to_owned(),
        Ok(MountType::Secret | MountType::Ssh) => String::new(),
        Err(_) => format!("type={}", mount.mount_type),
    };
    let mut parts = vec![kind, flag(mount.readonly, "readonly")];
    if let Some(cache) = &mount.cache_opt {
        parts.push(named("id", &cache.id));
        parts.push(match CacheSharingOpt::try_from(cache.sharing) {
            Ok(CacheSharingOpt::Shared) => String::new(),
            Ok(CacheSharingOpt::Private) => "sharing=private".to_owned(),
            Ok(CacheSharingOpt::Locked) => "sharing=locked".to_owned(),
            Err(_) => format!("sharing={}", cache.sharing),
        });
    }
    if let Some(tmpfs) = mount.tmpfs_opt.as_ref().filter(|tmpfs| tmpfs.size != 0) {
        parts.push(format!("size={}", tmpfs.size));
    }
    if let Some(secret) = &mount.secret_opt {
        parts.extend(shown_file(&secret.id, secret.uid, secret.gid, secret.mode, secret.optional));
    }
    if let Some(ssh) = &mount.ssh_opt {
        parts.extend(shown_file(&ssh.id, ssh.uid, ssh.gid, ssh.mode, ssh.optional));
    }
    match MountContentCache::try_from(mount.content_cache) {
        Ok(MountContentCache::Default) => {}
        Ok(MountContentCache::On) => parts.push("content-cache=on".to_owned()),
        Ok(MountContentCache::Off) => parts.push("content-cache=off".to_owned()),
        Err(_) => parts.push(format!("content-cache={}", mount.content_cache)),
    }
    parts.push(named("result", &mount.result_id));
    let shown = words(parts);
    let options = [
        mount.cache_opt.is_some(),
        mount.tmpfs_opt.is_some(),
        mount.secret_opt.is_some(),
        mount.ssh_opt.is_some(),
    ];
    let options = options.map(u8::from).map(|given| given.to_string()).concat();
    let value = format!("{shown} input={} output={} {options}", mount.input, mount.output);
    Fact::named(what, mount.dest.as_str(), value).shown(shown)
}

fn shown_file(id: &str, uid: u32, gid: u32, mode: u32, optional: bool) -> [String; 5] {
    [
        format!("id={id}"),
        if uid == 0 { String::new() } else { format!("uid={uid}") },
        if gid == 0 { String::new() } else { format!("gid={gid}") },
        format!("mode={mode:04o}"),
        flag(optional, "optional"),
    ]
}

fn flag(set: bool, word: &str) -> String {
    if set { word.to_owned() } else { String::new() }
}

fn named(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("{name}={value}") }
}

fn list(values: impl Iterator<Item = impl ToString>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

/// The parts that say something.
fn words(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
