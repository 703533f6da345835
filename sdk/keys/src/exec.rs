//! How a process is keyed.
//!
//! What does not change what it makes is left out: addresses of hosts, proxies, and which part of an
//! input a mount shows, which stands in the selectors instead. An input counts by content where the
//! process cannot pass on more of it than was selected.

use kiln_oci::{Digest, Platform};
use kiln_pb::gojson::Object;
use kiln_pb::pb;
use kiln_pb::pb::{MountContentCache as ContentCache, MountType};

use crate::content::{ContentQuery, Selector, rooted, without_nested};
use crate::map::{CacheMap, Dep, KeyError, PathSelector};

pub(crate) fn cache_map(
    op: &pb::ExecOp,
    platform: &Platform,
    inputs: usize,
) -> Result<CacheMap, KeyError> {
    let map = CacheMap::plain(Digest::sha256(json(&counted(op)?, platform)), inputs);
    Ok(CacheMap { deps: deps(op, inputs)?, ..map })
}

/// A process as far as it counts.
pub(crate) fn counted(op: &pb::ExecOp) -> Result<pb::ExecOp, KeyError> {
    let mut plain = op.clone();
    let meta = plain.meta.as_mut().ok_or(KeyError::Missing("a command"))?;
    meta.extra_hosts.iter_mut().for_each(|host| host.ip.clear());
    meta.proxy_env = None;
    for mount in &mut plain.mounts {
        mount.selector.clear();
        anonymize_cache(mount);
    }
    if let [root] = &plain.mounts[..]
        && is_plain_root(root)
    {
        plain.mounts.clear();
    }
    Ok(plain)
}

/// The id of a cache mount does not count, unless it is what a Dockerfile gives by default: those
/// keys exist in caches.
fn anonymize_cache(mount: &mut pb::Mount) {
    let Some(cache) = &mut mount.cache_opt else { return };
    let in_namespace = cache.id.split_once('/').is_some_and(|(_, id)| id == mount.dest);
    let default = cache.sharing == 0 && (cache.id == mount.dest || in_namespace);
    if !default {
        cache.id.clear();
        cache.sharing = 0;
    }
}

/// A process with only an ordinary root is keyed without mounts, as it was when mounts did not count.
fn is_plain_root(mount: &pb::Mount) -> bool {
    mount.dest == "/"
        && !mount.readonly
        && mount.mount_type == MountType::Bind as i32
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

fn json(op: &pb::ExecOp, platform: &Platform) -> String {
    let mut json = String::new();
    let mut object = Object::open(&mut json);
    object.text("Type", "buildkit.exec.v0");
    object.message("Exec", op);
    object.always_text("OS", &platform.os);
    object.always_text("Arch", &platform.architecture);
    object.text("Variant", &platform.variant);
    object.text("OSVersion", &platform.os_version);
    object.texts("OSFeatures", &platform.os_features);
    object.close();
    json
}

/// What the mounts of a process read of an input.
#[derive(Clone, Default)]
struct Reads {
    paths: Vec<String>,
    by_content: bool,
}

fn deps(op: &pb::ExecOp, inputs: usize) -> Result<Vec<Dep>, KeyError> {
    let mut reads = vec![Reads::default(); inputs];
    for mount in &op.mounts {
        let shown_by_client =
            [MountType::Secret as i32, MountType::Ssh as i32, MountType::Tmpfs as i32];
        if mount.input == -1 || shown_by_client.contains(&mount.mount_type) {
            continue;
        }
        let read = usize::try_from(mount.input).ok().and_then(|input| reads.get_mut(input));
        let read = read.ok_or(KeyError::Input { op: "exec", index: mount.input, inputs })?;
        let path = rooted(&mount.selector);
        // The last mount of an input decides.
        read.by_content = by_content(mount, &path)?;
        read.paths.push(path);
    }
    Ok(reads.into_iter().map(Reads::dep).collect())
}

/// Whether content may stand for the input of a mount: not if the process may write to it and pass
/// it on while it shows only a part, because the result then holds what was not looked at.
fn by_content(mount: &pb::Mount, path: &str) -> Result<bool, KeyError> {
    let safe = mount.output == -1 || mount.readonly || path == "/";
    match ContentCache::try_from(mount.content_cache) {
        Ok(ContentCache::Off) => Ok(false),
        Ok(ContentCache::On) if !safe => Err(KeyError::ContentCache(mount.dest.clone())),
        // Nobody wants to hash a root for every process.
        Ok(ContentCache::Default) if mount.dest == "/" => Ok(false),
        _ => Ok(safe),
    }
}

impl Reads {
    fn dep(self) -> Dep {
        let content = self.by_content.then(|| query(self.paths.clone()));
        let selector = (!self.paths.is_empty()).then(|| PathSelector::new(self.paths));
        Dep { selector, content, preprocess: true }
    }
}

fn query(paths: Vec<String>) -> ContentQuery {
    let paths = without_nested(paths);
    if paths.iter().any(|path| path == "/") {
        return ContentQuery::everything();
    }
    ContentQuery::of(paths.into_iter().map(|path| Selector {
        path,
        follow_links: true,
        ..Selector::default()
    }))
}
