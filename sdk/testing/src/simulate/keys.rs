//! Under which keys a step is cached: what it is by itself, and how it reads each of its inputs.
//!
//! The daemon's own keys, from [`kiln_keys`]. Only what a source holds is made up, because nobody
//! asks: what the world says it holds, or else its name, stands for a digest.

use kiln_keys::source::{Found, maps};
use kiln_keys::{CacheMap, Dep, KeyError, Selector, cache_map};
use kiln_llb::encode::Canonical as _;
use kiln_oci::{Digest, Platform};
use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;
use prost::Message as _;

use super::world::World;
use crate::facts::source_kind;
use crate::steps::Step;

/// How a step is keyed. One that cannot be, and fails in a real build, is taken as it stands.
pub(super) fn keyed(step: &Step, world: &World) -> CacheMap {
    let platform = step.op.platform.as_ref().map(platform).unwrap_or_default();
    let map = match &step.op.op {
        Some(Kind::Source(source)) => source_map(source, &platform, world),
        _ => cache_map(&step.op, &platform),
    };
    map.unwrap_or_else(|_| CacheMap {
        digest: Digest::sha256(step.op.to_canonical()),
        session_scoped: false,
        deps: vec![Dep::default(); step.inputs.len()],
    })
}

fn platform(platform: &pb::Platform) -> Platform {
    let pb::Platform { architecture, os, variant, os_version, os_features } = platform.clone();
    Platform { architecture, os, os_version, os_features, variant }.normalized()
}

fn source_map(
    source: &pb::SourceOp,
    platform: &Platform,
    world: &World,
) -> Result<CacheMap, KeyError> {
    let (_, rest) = source_kind(&source.identifier);
    let digest = Digest::sha256(world.remote.get(rest).map_or(rest, String::as_str));
    let scheme = source.identifier.split("://").next().unwrap_or_default();
    let found = match scheme {
        "docker-image" | "oci-layout" => Found::Image { digest: &digest, config: b"{}" },
        "git" => Found::Git { object: digest.hex(), commit: None, reference: "" },
        "local" => Found::Local { session: "" },
        _ => Found::Http { checksum: &digest, disposition: None, last_modified: "" },
    };
    let first = maps(source, platform, &found)?.into_iter().next();
    first.ok_or(KeyError::Missing("a key"))
}

/// What a copy reads.
pub(super) fn selector_of(copy: &pb::FileActionCopy) -> Selector {
    Selector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && super::value::has_wildcard(&copy.src),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        required_paths: Vec::new(),
    }
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
