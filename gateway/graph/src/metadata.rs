//! What is said about a vertex beside what it does.
//!
//! None of this is part of the vertex's digest or of a cache key.

use std::collections::BTreeMap;

use kiln_pb::pb;

use crate::Resources;

/// What is said about a vertex beside what it does; nothing that arrived is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Run it although the cache has it.
    pub ignore_cache: bool,
    /// Whether its result goes into exported caches; `None` leaves that to the exporter.
    pub export_cache: Option<bool>,
    /// The features that its client needed for it, all of which this daemon has.
    pub caps: BTreeMap<String, bool>,
    /// Notes of the client, by key.
    pub description: BTreeMap<String, String>,
    /// The group it is shown in.
    pub progress_group: Option<ProgressGroup>,
    /// Limits for its process.
    pub resources: Resources,
}

/// Vertices that are shown as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressGroup {
    /// What they have in common.
    pub id: String,
    /// What is shown.
    pub name: String,
    /// Does not show the group by itself.
    pub weak: bool,
}

impl From<pb::OpMetadata> for Metadata {
    fn from(message: pb::OpMetadata) -> Self {
        let group = |group: pb::ProgressGroup| ProgressGroup {
            id: group.id,
            name: group.name,
            weak: group.weak,
        };
        Self {
            ignore_cache: message.ignore_cache,
            export_cache: message.export_cache.map(|export| export.value),
            caps: message.caps,
            description: message.description,
            progress_group: message.progress_group.map(group),
            resources: message.linux_resources.map(Resources::from).unwrap_or_default(),
        }
    }
}

impl From<pb::LinuxResources> for Resources {
    fn from(limits: pb::LinuxResources) -> Self {
        Self {
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            cpu_shares: limits.cpu_shares,
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            cpuset_cpus: limits.cpuset_cpus,
            cpuset_mems: limits.cpuset_mems,
        }
    }
}
