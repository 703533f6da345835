//! Under which keys a step is cached: what it is by itself, and how it reads each of its inputs.

use kiln_llb::encode::Canonical as _;
use kiln_wire::pb;
use kiln_wire::pb::file_action::Action;
use kiln_wire::pb::op::Op as Kind;
use kiln_wire::pb::user_opt::User;
use prost::Message as _;

use super::value::{Selector, clean, has_wildcard};
use super::world::World;
use crate::facts::source_kind;
use crate::steps::Step;

/// How a step reads one input.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// What it selects of it; several selections of one input count together.
    pub(super) selectors: Vec<Selector>,
    /// Whether the content of the selection may stand for the input.
    pub(super) by_content: bool,
}

/// What a step is by itself, whatever it reads.
pub(super) fn own(step: &Step, world: &World) -> Vec<u8> {
    let mut op = pb::Op { inputs: Vec::new(), constraints: None, ..step.op.clone() };
    let mut holds = String::new();
    match &mut op.op {
        Some(Kind::Source(source)) => {
            let (_, rest) = source_kind(&source.identifier);
            holds = world.remote.get(rest).cloned().unwrap_or_default();
        }
        Some(Kind::Exec(exec)) => plain_exec(exec),
        Some(Kind::File(file)) => plain_file(file, step.inputs.len()),
        _ => {}
    }
    let mut key = op.to_canonical();
    key.push(0);
    key.extend_from_slice(holds.as_bytes());
    key
}

/// What does not change what a command makes does not count.
fn plain_exec(exec: &mut pb::ExecOp) {
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        meta.extra_hosts.iter_mut().for_each(|host| host.ip.clear());
    }
    for mount in &mut exec.mounts {
        mount.selector.clear();
        if let Some(cache) = &mut mount.cache_opt {
            // Ids of the Dockerfile's making count, as at the peer, which wants to hit old caches.
            let id = cache.id.split_once('/').map_or("", |(_, id)| id);
            let default = cache.sharing == 0 && (cache.id == mount.dest || id == mount.dest);
            if !default {
                *cache = pb::CacheOpt::default();
            }
        }
    }
}

/// Of what is copied from an input only the name counts: the rest is in the content.
fn plain_file(file: &mut pb::FileOp, inputs: usize) {
    for action in &mut file.actions {
        let from_input = usize::try_from(action.secondary_input).is_ok_and(|n| n < inputs);
        if let Some(Action::Copy(copy)) = &mut action.action
            && from_input
        {
            copy.src = clean(&copy.src).rsplit('/').next().unwrap_or_default().to_owned();
        }
    }
}

/// How a step reads each of its inputs.
pub(super) fn reads(step: &Step) -> Vec<Reads> {
    let mut reads = vec![Reads::default(); step.inputs.len()];
    match &step.op.op {
        Some(Kind::Exec(exec)) => exec_reads(exec, &mut reads),
        Some(Kind::File(file)) => file_reads(file, &mut reads),
        _ => {}
    }
    reads
}

fn exec_reads(exec: &pb::ExecOp, reads: &mut [Reads]) {
    for mount in &exec.mounts {
        let kind = mount.mount_type();
        if !matches!(kind, pb::MountType::Bind | pb::MountType::Cache) {
            continue;
        }
        let input = usize::try_from(mount.input).ok();
        let Some(read) = input.and_then(|input| reads.get_mut(input)) else { continue };
        let path = clean(&mount.selector);
        // Content may stand for an input only where the command cannot write beside what it sees.
        let safe = mount.output < 0 || mount.readonly || path.is_empty();
        read.by_content = match mount.content_cache() {
            pb::MountContentCache::Off => false,
            pb::MountContentCache::On => safe,
            pb::MountContentCache::Default => safe && mount.dest != "/",
        };
        read.selectors.push(Selector { path, ..Selector::default() });
    }
    for read in reads {
        if read.selectors.iter().any(|selector| selector.path.is_empty()) {
            read.selectors = vec![Selector::default()];
        }
    }
}

fn file_reads(file: &pb::FileOp, reads: &mut [Reads]) {
    for action in &file.actions {
        let from = usize::try_from(action.secondary_input).ok();
        if let Some(Action::Copy(copy)) = &action.action
            && let Some(read) = from.and_then(|from| reads.get_mut(from))
        {
            read.by_content = true;
            read.selectors.push(selector_of(copy));
        }
        for (user, path) in owners(action) {
            if let Some(User::ByName(name)) = &user.user
                && let Some(read) = usize::try_from(name.input).ok().and_then(|n| reads.get_mut(n))
            {
                read.by_content = true;
                read.selectors.push(Selector { path: path.into(), ..Selector::default() });
            }
        }
    }
    // What is changed is needed as a whole.
    for action in &file.actions {
        let base = usize::try_from(action.input).ok();
        if let Some(read) = base.and_then(|base| reads.get_mut(base)) {
            *read = Reads::default();
        }
    }
}

/// What a copy reads.
pub(super) fn selector_of(copy: &pb::FileActionCopy) -> Selector {
    Selector {
        path: clean(&copy.src),
        wildcard: copy.allow_wildcard && has_wildcard(&copy.src),
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    }
}

/// The owners an action gives, with the list they are looked up in.
fn owners(action: &pb::FileAction) -> impl Iterator<Item = (&pb::UserOpt, &'static str)> {
    let owner = match &action.action {
        Some(Action::Copy(copy)) => copy.owner.as_ref(),
        Some(Action::Mkfile(file)) => file.owner.as_ref(),
        Some(Action::Mkdir(dir)) => dir.owner.as_ref(),
        _ => None,
    };
    let user = owner.and_then(|owner| owner.user.as_ref()).map(|user| (user, "etc/passwd"));
    let group = owner.and_then(|owner| owner.group.as_ref()).map(|group| (group, "etc/group"));
    user.into_iter().chain(group)
}

/// All that a copy says besides which path goes where, as text.
pub(super) fn how(copy: &pb::FileActionCopy) -> String {
    let rest = pb::FileActionCopy {
        src: String::new(),
        dest: String::new(),
        include_patterns: Vec::new(),
        exclude_patterns: Vec::new(),
        required_paths: Vec::new(),
        mode: 0,
        ..copy.clone()
    };
    match (rest.encoded_len(), copy.mode) {
        (0, -1) => String::new(),
        _ => format!(" {:o} {:?}", copy.mode, rest.encode_to_vec()),
    }
}
