//! From the messages of operations to what they mean, each kind by itself.
//!
//! What an operation says of its inputs is checked against how many it has; how operations fit together is
//! [`crate::load`]'s. What makes no sense is an error in words, to which the loader adds whose it is.

use std::collections::BTreeMap;

use kiln_cdi::Request;
use kiln_pb::pb;

use crate::ids;
use crate::{
    BuildOp, CacheSharing, ContentCache, CopyAction, Exec, ExecMount, FileAction, FileInput,
    FileOp, FileOwner, FileStep, FileUser, HostEntry, MountKind, NetworkMode, ProxyEnv, SecretEnv,
    SecurityMode, Ulimit,
};

/// An input number of an op: -1 is none, anything else must exist.
pub(crate) fn input(number: i64, inputs: usize) -> Result<Option<usize>, String> {
    match usize::try_from(number) {
        Ok(index) if index < inputs => Ok(Some(index)),
        _ if number == -1 => Ok(None),
        _ => Err(format!("it reads input {number} of {inputs}")),
    }
}

/// An output number of an op: -1 is none. No op needs thousands of outputs.
fn output(number: i64) -> Result<Option<usize>, String> {
    match number {
        -1 => Ok(None),
        0..=4095 => Ok(usize::try_from(number).ok()),
        _ => Err(format!("invalid output {number}")),
    }
}

pub(crate) fn exec(mut op: pb::ExecOp, inputs: usize) -> Result<Exec, String> {
    let mounts = std::mem::take(&mut op.mounts);
    if let Some(mount) = mounts.iter().find(|mount| !mount.result_id.is_empty()) {
        let (dest, id) = (&mount.dest, &mount.result_id);
        return Err(format!("mount {dest} is of result {id}, which only containers can have"));
    }
    Ok(Exec { mounts: exec_mounts(mounts, inputs)?, ..exec_process(op)? })
}

/// The mounts of a process that has so many inputs.
///
/// # Errors
///
/// What is wrong with them.
pub fn exec_mounts(mounts: Vec<pb::Mount>, inputs: usize) -> Result<Vec<ExecMount>, String> {
    let mounts = mounts.into_iter().map(|m| mount(m, inputs)).collect::<Result<Vec<_>, _>>()?;
    match mounts.iter().filter(|mount| mount.dest == "/").count() {
        0 => Err("it has no mount at /".into()),
        1 => Ok(mounts),
        _ => Err("it has more than one mount at /".into()),
    }
}

/// A process, with no mounts yet.
///
/// # Errors
///
/// What is wrong with it.
pub fn exec_process(op: pb::ExecOp) -> Result<Exec, String> {
    let pb::ExecOp { meta, mounts: _, network, security, secretenv, cdi_devices } = op;
    let pb::Meta {
        args,
        env,
        cwd,
        user,
        proxy_env,
        extra_hosts,
        hostname,
        ulimit: limits,
        cgroup_parent,
        remove_mount_stubs_recursive,
        valid_exit_codes,
    } = meta.ok_or("it has no command")?;
    if args.is_empty() {
        return Err("it has no arguments".into());
    }
    let network = match pb::NetMode::try_from(network) {
        Ok(pb::NetMode::Unset) => NetworkMode::Default,
        Ok(pb::NetMode::Host) => NetworkMode::Host,
        Ok(pb::NetMode::None) => NetworkMode::None,
        Err(_) => return Err(format!("invalid network mode {network}")),
    };
    let security = match pb::SecurityMode::try_from(security) {
        Ok(pb::SecurityMode::Sandbox) => SecurityMode::Sandbox,
        Ok(pb::SecurityMode::Insecure) => SecurityMode::Insecure,
        Err(_) => return Err(format!("invalid security mode {security}")),
    };
    ids::check_owner(&user)?;
    Ok(Exec {
        args,
        env,
        cwd,
        user,
        proxy: proxy_env.map(|p| ProxyEnv {
            http: p.http_proxy,
            https: p.https_proxy,
            ftp: p.ftp_proxy,
            no: p.no_proxy,
            all: p.all_proxy,
        }),
        extra_hosts: extra_hosts
            .into_iter()
            .map(|h| HostEntry { host: h.host, ip: h.ip })
            .collect(),
        hostname,
        ulimits: limits.into_iter().map(ulimit).collect::<Result<_, _>>()?,
        cgroup_parent,
        remove_mount_stubs_recursive,
        valid_exit_codes,
        mounts: Vec::new(),
        network,
        security,
        secret_env: secretenv
            .into_iter()
            .map(|s| SecretEnv { id: s.id, name: s.name, optional: s.optional })
            .collect(),
        devices: devices(cdi_devices),
        proxied: None,
    })
}

pub(crate) fn devices(devices: Vec<pb::CdiDevice>) -> Vec<Request> {
    let device = |pb::CdiDevice { name, optional }| Request { name, optional };
    devices.into_iter().map(device).collect()
}

fn ulimit(limit: pb::Ulimit) -> Result<Ulimit, String> {
    // -1 is no limit; any other negative number would become one, too.
    match [limit.soft, limit.hard].iter().find(|value| **value < -1) {
        Some(value) => Err(format!("ulimit {} cannot be {value}", limit.name)),
        None => Ok(Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard }),
    }
}

fn mount(mount: pb::Mount, inputs: usize) -> Result<ExecMount, String> {
    let kind = match pb::MountType::try_from(mount.mount_type) {
        Ok(pb::MountType::Bind) => MountKind::Bind,
        Ok(pb::MountType::Cache) => {
            let cache = mount.cache_opt.unwrap_or_default();
            let sharing = match pb::CacheSharingOpt::try_from(cache.sharing) {
                Ok(pb::CacheSharingOpt::Shared) => CacheSharing::Shared,
                Ok(pb::CacheSharingOpt::Private) => CacheSharing::Private,
                Ok(pb::CacheSharingOpt::Locked) => CacheSharing::Locked,
                Err(_) => return Err(format!("invalid cache sharing {}", cache.sharing)),
            };
            MountKind::Cache { id: cache.id, sharing }
        }
        Ok(pb::MountType::Tmpfs) => {
            let size = mount.tmpfs_opt.map_or(0, |tmpfs| tmpfs.size);
            let size =
                u64::try_from(size).map_err(|_| format!("invalid size {size} of a tmpfs"))?;
            MountKind::Tmpfs { size }
        }
        Ok(pb::MountType::Secret) => {
            let s = mount.secret_opt.unwrap_or_default();
            MountKind::Secret {
                id: s.id,
                uid: ids::checked("user", s.uid)?,
                gid: ids::checked("group", s.gid)?,
                mode: s.mode & 0o777,
                optional: s.optional,
            }
        }
        Ok(pb::MountType::Ssh) => {
            let s = mount.ssh_opt.unwrap_or_default();
            MountKind::Ssh {
                id: s.id,
                uid: ids::checked("user", s.uid)?,
                gid: ids::checked("group", s.gid)?,
                mode: s.mode & 0o777,
                optional: s.optional,
            }
        }
        Err(_) => return Err(format!("invalid mount type {}", mount.mount_type)),
    };
    if mount.dest.is_empty() {
        return Err("a mount has no destination".into());
    }
    if mount.dest == "/" && kind != MountKind::Bind {
        return Err("the mount at / must be a bind mount".into());
    }
    let output = output(mount.output)?;
    let content_cache = match pb::MountContentCache::try_from(mount.content_cache) {
        Ok(pb::MountContentCache::Default) => ContentCache::Default,
        Ok(pb::MountContentCache::On) => ContentCache::On,
        Ok(pb::MountContentCache::Off) => ContentCache::Off,
        Err(_) => return Err(format!("invalid content cache {}", mount.content_cache)),
    };
    Ok(ExecMount {
        input: input(mount.input, inputs)?,
        selector: mount.selector,
        dest: mount.dest,
        output,
        readonly: mount.readonly,
        kind,
        content_cache,
    })
}

pub(crate) fn file(op: pb::FileOp, inputs: usize) -> Result<FileOp, String> {
    if op.actions.is_empty() {
        return Err("it has no actions".into());
    }
    let mut steps: Vec<FileStep> = Vec::new();
    for (number, action) in op.actions.into_iter().enumerate() {
        let from = |index: i64| match usize::try_from(index) {
            Ok(index) if index < inputs => Ok(FileInput::Vertex(index)),
            Ok(index) if index - inputs < number => Ok(FileInput::Action(index - inputs)),
            _ if index == -1 => Ok(FileInput::Scratch),
            _ => Err(format!("action {number} reads input {index}, which does not exist")),
        };
        let output = output(action.output)?;
        let what = action
            .action
            .ok_or_else(|| format!("action {number} is of a kind this daemon does not know"))?;
        let step = FileStep {
            input: from(action.input)?,
            secondary: from(action.secondary_input)?,
            output,
            action: file_action(what, &from)?,
        };
        steps.push(step);
    }
    Ok(FileOp { steps })
}

fn file_action(
    action: pb::file_action::Action,
    from: &impl Fn(i64) -> Result<FileInput, String>,
) -> Result<FileAction, String> {
    let time = |timestamp: i64| (timestamp >= 0).then_some(timestamp);
    let mode = |mode: i32| {
        u32::try_from(mode).map(|mode| mode & 0o7777).map_err(|_| format!("invalid mode {mode}"))
    };
    Ok(match action {
        pb::file_action::Action::Copy(copy) => FileAction::Copy(Box::new(CopyAction {
            src: copy.src,
            dest: copy.dest,
            owner: owner(copy.owner, from)?,
            mode: u32::try_from(copy.mode).ok().map(|mode| mode & 0o7777),
            mode_text: copy.mode_str,
            follow_symlink: copy.follow_symlink,
            dir_contents: copy.dir_copy_contents,
            unpack: copy.attempt_unpack_docker_compatibility,
            unpack_zip: false,
            create_dest_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            timestamp: time(copy.timestamp),
            include_patterns: copy.include_patterns,
            exclude_patterns: copy.exclude_patterns,
            required_paths: copy.required_paths,
            always_replace: copy.always_replace_existing_dest_paths,
        })),
        pb::file_action::Action::Mkfile(file) => FileAction::MakeFile {
            path: file.path,
            mode: mode(file.mode)?,
            data: file.data.to_vec(),
            owner: owner(file.owner, from)?,
            timestamp: time(file.timestamp),
        },
        pb::file_action::Action::Mkdir(dir) => FileAction::MakeDir {
            path: dir.path,
            mode: mode(dir.mode)?,
            make_parents: dir.make_parents,
            owner: owner(dir.owner, from)?,
            timestamp: time(dir.timestamp),
        },
        pb::file_action::Action::Rm(rm) => FileAction::Remove {
            path: rm.path,
            allow_not_found: rm.allow_not_found,
            allow_wildcard: rm.allow_wildcard,
        },
        pb::file_action::Action::Symlink(link) => FileAction::Symlink {
            target: link.oldpath,
            path: link.newpath,
            owner: owner(link.owner, from)?,
            timestamp: time(link.timestamp),
        },
    })
}

fn owner(
    owner: Option<pb::ChownOpt>,
    from: &impl Fn(i64) -> Result<FileInput, String>,
) -> Result<Option<FileOwner>, String> {
    let Some(owner) = owner else { return Ok(None) };
    let user = |what, user: Option<pb::UserOpt>| -> Result<Option<FileUser>, String> {
        Ok(match user.and_then(|user| user.user) {
            None => None,
            Some(pb::user_opt::User::ById(id)) => Some(FileUser::Id(ids::checked(what, id)?)),
            Some(pb::user_opt::User::ByName(named)) => {
                ids::check_text(what, &named.name)?;
                Some(FileUser::Name { name: named.name, input: from(named.input)? })
            }
        })
    };
    Ok(Some(FileOwner { user: user("user", owner.user)?, group: user("group", owner.group)? }))
}

pub(crate) fn build(op: &pb::BuildOp, inputs: usize) -> Result<BuildOp, String> {
    const DEFINITION: &str = "buildkit.llb.definition";
    const FILENAME: &str = "llbbuild.filename";
    let pb::BuildOp { builder, inputs: given, def, attrs } = op;
    if *builder != -1 {
        return Err(format!("it names builder {builder}, only -1 (LLB) exists"));
    }
    if def.is_some() {
        return Err(format!("it has a definition of its own, which is an input, {DEFINITION}"));
    }
    if let Some(attribute) = attrs.keys().find(|name| *name != FILENAME) {
        return Err(format!("attribute {attribute} is not supported by this version"));
    }
    let mut named = BTreeMap::new();
    for (name, entry) in given {
        named.insert(
            name.clone(),
            input(entry.input, inputs)?.ok_or_else(|| format!("input {name} is empty"))?,
        );
    }
    let definition =
        named.get(DEFINITION).copied().ok_or_else(|| format!("it has no input {DEFINITION}"))?;
    let filename = attrs.get(FILENAME).filter(|name| !name.is_empty());
    Ok(BuildOp {
        input: definition,
        inputs: named,
        filename: filename.cloned().unwrap_or_else(|| DEFINITION.to_owned()),
    })
}
