//! Commands in words: what runs, what it sees, what it may do.

use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;

use super::{Facts, View};
use crate::steps::Step;
use crate::words::{block, inline, word, words};

pub(super) fn name(op: &pb::ExecOp) -> String {
    let args = op.meta.as_ref().map_or(&[][..], |meta| &meta.args);
    match args {
        [] => "exec".into(),
        args => {
            let line = args.join(" ");
            match line.trim_end().split_once('\n') {
                Some((first, _)) => format!("{}…", inline(first)),
                None => inline(line.trim_end()),
            }
        }
    }
}

pub(super) fn facts(view: &View<'_>, step: &Step, op: &pb::ExecOp) -> Facts {
    let unsaid = pb::Meta::default();
    let meta = op.meta.as_ref().unwrap_or(&unsaid);
    let mut facts = Facts::new("exec");
    let root = op.mounts.iter().find(|mount| mount.dest == "/");
    facts.title("on", " on ", root.map_or("no root".into(), |root| view.input(step, root.input)));
    facts.add("run", command(&meta.args));
    facts.add_given("cwd", &meta.cwd);
    facts.add_given("user", &meta.user);
    facts.add_given("hostname", &meta.hostname);
    environment(view, step, meta, &mut facts);
    for mount in &op.mounts {
        self::mount(view, step, mount, &mut facts);
    }
    for secret in &op.secretenv {
        let optional = if secret.optional { " optional" } else { "" };
        facts.add("secret", format!("{} as ${}{optional}", word(&secret.id), word(&secret.name)));
    }
    for device in &op.cdi_devices {
        let optional = if device.optional { " optional" } else { "" };
        facts.add("device", format!("{}{optional}", word(&device.name)));
    }
    match op.network() {
        pb::NetMode::Unset => {}
        pb::NetMode::Host => facts.add("network", "host"),
        pb::NetMode::None => facts.add("network", "none"),
    }
    if op.security() == pb::SecurityMode::Insecure {
        facts.add("security", "insecure");
    }
    rest(meta, &mut facts);
    facts
}

/// The program with its arguments; a last one of several lines stands below.
fn command(args: &[String]) -> String {
    match args.split_last() {
        Some((script, before)) if script.trim_end().contains('\n') => {
            format!("{}\n{}", words(before), block(script))
        }
        _ => words(args),
    }
}

/// The environment, or how it differs from that of the command below.
fn environment(view: &View<'_>, step: &Step, meta: &pb::Meta, facts: &mut Facts) {
    let below = step.command_below.filter(|_| !view.whole_env);
    let below =
        below.and_then(|below| view.steps.get(below)).and_then(|below| match &below.op.op {
            Some(Kind::Exec(exec)) => Some((below.number, exec.meta.as_ref()?)),
            _ => None,
        });
    if let Some((number, below)) = below
        && let Some(changes) = changes(&below.env, &meta.env)
    {
        if !below.env.is_empty() || !meta.env.is_empty() {
            facts.add("env", format!("as in {number}"));
        }
        for change in changes {
            match change {
                Change::Without(name) => facts.add("env", format!("without {}", word(name))),
                Change::Set(entry) => facts.add("env", entry_text(entry)),
            }
        }
        return;
    }
    for entry in &meta.env {
        facts.add("env", entry_text(entry));
    }
}

fn entry_text(entry: &str) -> String {
    match entry.split_once('=') {
        Some((name, "")) => format!("{}=", word(name)),
        Some((name, value)) => format!("{}={}", word(name), word(value)),
        None => word(entry),
    }
}

enum Change<'a> {
    Without(&'a str),
    Set(&'a str),
}

/// How to get from one environment to the other by removing and appending; nothing if their order
/// cannot be had that way, or if so little is left that the whole list is shorter.
fn changes<'a>(below: &'a [String], own: &'a [String]) -> Option<Vec<Change<'a>>> {
    let kept = below.iter().filter(|entry| own.contains(entry)).count();
    if !own.iter().take(kept).eq(below.iter().filter(|entry| own.contains(entry))) {
        return None;
    }
    if kept * 2 < below.len() {
        return None;
    }
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    let set = &own[kept..];
    let gone = below.iter().filter(|entry| !own.contains(entry)).map(|entry| name(entry));
    let gone = gone.filter(|gone| !set.iter().any(|entry| name(entry) == *gone));
    let set_again = set.iter().map(|entry| Change::Set(entry));
    Some(gone.map(Change::Without).chain(set_again).collect())
}

fn mount(view: &View<'_>, step: &Step, mount: &pb::Mount, facts: &mut Facts) {
    let mut from = view.input(step, mount.input);
    if !mount.selector.is_empty() {
        from = format!("{from}:{}", word(&mount.selector));
    }
    let mut value = word(&mount.dest);
    let mut say = |text: String| value.push_str(&format!(" {text}"));
    match mount.mount_type() {
        pb::MountType::Bind => {
            let plain = mount.dest == "/" && mount.output == 0 && mount.selector.is_empty();
            if plain && !mount.readonly && mount.content_cache == 0 && mount.result_id.is_empty() {
                return;
            }
            say(format!("from {from}"));
        }
        pb::MountType::Cache => {
            let cache = mount.cache_opt.clone().unwrap_or_default();
            let id = if cache.id == mount.dest {
                String::new()
            } else {
                format!(" {}", word(&cache.id))
            };
            say(format!("cache{id}"));
            match cache.sharing() {
                pb::CacheSharingOpt::Shared => {}
                pb::CacheSharingOpt::Private => say("private".into()),
                pb::CacheSharingOpt::Locked => say("locked".into()),
            }
            if mount.input >= 0 {
                say(format!("from {from}"));
            }
        }
        pb::MountType::Tmpfs => {
            say("tmpfs".into());
            match mount.tmpfs_opt.as_ref().map_or(0, |tmpfs| tmpfs.size) {
                0 => {}
                bytes => say(format!("of {bytes} bytes")),
            }
        }
        pb::MountType::Secret => {
            let secret = mount.secret_opt.clone().unwrap_or_default();
            say(format!("secret {}", word(&secret.id)));
            say(access(secret.uid, secret.gid, secret.mode, secret.optional));
        }
        pb::MountType::Ssh => {
            let ssh = mount.ssh_opt.clone().unwrap_or_default();
            say(format!("ssh {}", word(if ssh.id.is_empty() { "default" } else { &ssh.id })));
            say(access(ssh.uid, ssh.gid, ssh.mode, ssh.optional));
        }
    }
    let kept = matches!(mount.mount_type(), pb::MountType::Bind);
    if mount.readonly {
        say("readonly".into());
    } else if mount.output > 0 || kept && mount.output == 0 && mount.dest != "/" {
        say(format!("output {}", mount.output));
    } else if kept && mount.output < 0 {
        say("thrown away".into());
    }
    match mount.content_cache() {
        pb::MountContentCache::Default => {}
        pb::MountContentCache::On => say("keyed by content".into()),
        pb::MountContentCache::Off => say("not keyed by content".into()),
    }
    if !mount.result_id.is_empty() {
        say(format!("result {}", word(&mount.result_id)));
    }
    facts.add("mount", value);
}

fn access(uid: u32, gid: u32, mode: u32, optional: bool) -> String {
    let owner = if (uid, gid) == (0, 0) { String::new() } else { format!(" owner={uid}:{gid}") };
    format!("mode=0{mode:o}{owner}{}", if optional { " optional" } else { "" })
}

/// What few commands have.
fn rest(meta: &pb::Meta, facts: &mut Facts) {
    if let Some(proxy) = &meta.proxy_env {
        let all = [
            ("http", &proxy.http_proxy),
            ("https", &proxy.https_proxy),
            ("ftp", &proxy.ftp_proxy),
            ("no", &proxy.no_proxy),
            ("all", &proxy.all_proxy),
        ];
        for (name, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
            facts.add("proxy", format!("{name} {}", word(value)));
        }
    }
    for host in &meta.extra_hosts {
        facts.add("host", format!("{} {}", word(&host.host), word(&host.ip)));
    }
    for limit in &meta.ulimit {
        facts.add("ulimit", format!("{} {}:{}", word(&limit.name), limit.soft, limit.hard));
    }
    facts.add_given("cgroup parent", &meta.cgroup_parent);
    if !meta.valid_exit_codes.is_empty() {
        let codes: Vec<String> = meta.valid_exit_codes.iter().map(i32::to_string).collect();
        facts.add("exit codes", codes.join(" "));
    }
    if !meta.remove_mount_stubs_recursive {
        facts.add("mount stubs", "stay");
    }
}
