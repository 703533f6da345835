//! What is said about a step besides what it does: its name, where it comes from, how it is cached.

use kiln_llb::CUSTOM_NAME;

use super::{Facts, View};
use crate::steps::Step;
use crate::words::{inline, word};

/// The name and where the step comes from, which are shown first.
pub(super) fn name(view: &View<'_>, step: &Step, facts: &mut Facts) {
    if let Some(name) = step.custom_name() {
        facts.add("name", inline(name));
    }
    if view.places {
        for place in &step.places {
            facts.add("at", place.text());
        }
    }
}

/// Everything else, which is shown last.
pub(super) fn rest(view: &View<'_>, step: &Step, facts: &mut Facts) {
    for (key, value) in step.metadata.description.iter().filter(|(key, _)| *key != CUSTOM_NAME) {
        facts.add("says", format!("{}={}", word(key), word(value)));
    }
    if step.metadata.ignore_cache {
        facts.add("cache", "ignored");
    }
    match step.metadata.export_cache.map(|export| export.value) {
        None => {}
        Some(true) => facts.add("cache", "exported"),
        Some(false) => facts.add("cache", "not exported"),
    }
    if let Some(group) = &step.metadata.progress_group {
        let weak = if group.weak { " weak" } else { "" };
        facts.add("group", format!("{}{weak}", word(&group.name)));
    }
    if let Some(limits) = &step.metadata.linux_resources {
        let numbers = [
            ("memory", i128::from(limits.memory)),
            ("memory and swap", limits.memory_swap.into()),
            ("cpu shares", limits.cpu_shares.into()),
            ("cpu period", limits.cpu_period.into()),
            ("cpu quota", limits.cpu_quota.into()),
        ];
        for (name, number) in numbers.iter().filter(|(_, number)| *number != 0) {
            facts.add("limit", format!("{name} {number}"));
        }
        let sets = [("cpus", &limits.cpuset_cpus), ("memory nodes", &limits.cpuset_mems)];
        for (name, set) in sets.iter().filter(|(_, set)| !set.is_empty()) {
            facts.add("limit", format!("{name} {}", word(set)));
        }
    }
    for filter in step.op.constraints.iter().flat_map(|constraints| &constraints.filter) {
        facts.add("worker", word(filter));
    }
    if view.caps {
        for (cap, _) in step.metadata.caps.iter().filter(|(_, needed)| **needed) {
            facts.add("needs", word(cap));
        }
    }
}
