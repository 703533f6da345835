//! Workers of a daemon as a table, lists and JSON.

use std::time::Duration;

use kiln_oci::Platform;
use kiln_wire::pb;
use kiln_wire::proto::types::{BuildkitVersion, GcPolicy, WorkerRecord};
use serde_json::{Value, json};

use crate::output::{go_duration, table};
use crate::progress::bytes;

/// All workers as a table.
pub(crate) fn as_table(workers: &[WorkerRecord]) -> String {
    let mut rows = vec![vec!["ID".to_owned(), "PLATFORMS".to_owned()]];
    rows.extend(workers.iter().map(|worker| vec![worker.id.clone(), platforms(worker).join(",")]));
    table(&rows)
}

/// All that is known of each worker, one after another.
pub(crate) fn as_list(workers: &[WorkerRecord]) -> String {
    workers.iter().map(paragraph).collect()
}

/// All workers as a JSON array.
pub(crate) fn as_json(workers: &[WorkerRecord]) -> String {
    let workers: Vec<Value> = workers
        .iter()
        .map(|worker| {
            json!({
                "id": worker.id,
                "labels": labels(worker).into_iter().collect::<serde_json::Map<_, _>>(),
                "platforms": worker.platforms.iter().map(|p| json!(platform(p))).collect::<Vec<_>>(),
                "gcPolicy": worker.gc_policy.iter().map(policy_json).collect::<Vec<_>>(),
                "buildkitVersion": worker.buildkit_version.as_ref().map(version_json),
            })
        })
        .collect();
    format!("{}\n", Value::Array(workers))
}

/// The version of a daemon, for people.
pub(crate) fn version_text(version: &BuildkitVersion) -> String {
    let mut text =
        format!("BuildKit:\t{} {} {}", version.package, version.version, version.revision)
            .trim_end()
            .to_owned()
            + "\n";
    if !version.dockerfile_version.is_empty() {
        text += &format!("Dockerfile:\t{}\n", version.dockerfile_version);
    }
    text
}

/// The version of a daemon, for programs.
pub(crate) fn version_json(version: &BuildkitVersion) -> Value {
    json!({
        "package": version.package,
        "version": version.version,
        "revision": version.revision,
    })
}

fn paragraph(worker: &WorkerRecord) -> String {
    let mut text = format!("ID:\t\t{}\nPlatforms:\t{}\n", worker.id, platforms(worker).join(","));
    if let Some(version) = &worker.buildkit_version {
        text += &version_text(version);
    }
    text += "Labels:\n";
    for (name, value) in labels(worker) {
        text += &format!("\t{name}:\t{}\n", value.as_str().unwrap_or_default());
    }
    for (index, policy) in worker.gc_policy.iter().enumerate() {
        text += &format!("GC Policy rule#{index}:\n{}", policy_text(policy));
    }
    if !worker.cdi_devices.is_empty() {
        text += "Devices:\n";
        for device in &worker.cdi_devices {
            text += &format!("\t{}\n", device.name);
        }
    }
    text + "\n"
}

fn policy_text(policy: &GcPolicy) -> String {
    let mut text = format!("\tAll:\t\t{}\n", policy.all);
    if !policy.filters.is_empty() {
        text += &format!("\tFilters:\t{}\n", policy.filters.join(" "));
    }
    if let Some(keep) = keep_duration(policy) {
        text += &format!("\tKeep duration:\t{}\n", go_duration(keep));
    }
    for (name, size) in [
        ("Reserved space", policy.reserved_space),
        ("Max used space", policy.max_used_space),
        ("Min free space", policy.min_free_space),
    ] {
        if let Some(size) = u64::try_from(size).ok().filter(|size| *size > 0) {
            text += &format!("\t{name}:\t{}\n", bytes(size));
        }
    }
    text
}

fn keep_duration(policy: &GcPolicy) -> Option<Duration> {
    let nanoseconds = u64::try_from(policy.keep_duration).ok()?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

fn policy_json(policy: &GcPolicy) -> Value {
    json!({
        "all": policy.all,
        "filter": policy.filters,
        "keepDuration": policy.keep_duration,
        "reservedSpace": policy.reserved_space,
        "maxUsedSpace": policy.max_used_space,
        "minFreeSpace": policy.min_free_space,
    })
}

/// In the order of their names.
fn labels(worker: &WorkerRecord) -> Vec<(String, Value)> {
    let mut labels: Vec<(String, Value)> =
        worker.labels.clone().into_iter().map(|(name, value)| (name, value.into())).collect();
    labels.sort_by(|one, two| one.0.cmp(&two.0));
    labels
}

fn platforms(worker: &WorkerRecord) -> Vec<String> {
    worker.platforms.iter().map(|wire| platform(wire).format()).collect()
}

fn platform(wire: &pb::Platform) -> Platform {
    Platform {
        architecture: wire.architecture.clone(),
        os: wire.os.clone(),
        os_version: wire.os_version.clone(),
        os_features: wire.os_features.clone(),
        variant: wire.variant.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerRecord {
        let platform = |architecture: &str, variant: &str| pb::Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ..pb::Platform::default()
        };
        let labels = [("b", "2"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        WorkerRecord {
            id: "w1".into(),
            labels: labels.into_iter().collect(),
            platforms: vec![platform("amd64", ""), platform("arm", "v7")],
            gc_policy: vec![GcPolicy {
                keep_duration: 172_800_000_000_000,
                max_used_space: 512_000_000,
                filters: vec!["type==source.local".into()],
                ..GcPolicy::default()
            }],
            buildkit_version: Some(BuildkitVersion {
                package: "kiln".into(),
                version: "v0.1.0".into(),
                ..BuildkitVersion::default()
            }),
            ..WorkerRecord::default()
        }
    }

    #[test]
    fn workers_are_shown() {
        let text = as_table(&[worker()]) + &as_list(&[worker()]);
        assert!(text.ends_with("\n\n"), "{text}");
        insta::assert_snapshot!(text, @"
        ID  PLATFORMS
        w1  linux/amd64,linux/arm/v7
        ID:		w1
        Platforms:	linux/amd64,linux/arm/v7
        BuildKit:	kiln v0.1.0
        Labels:
        	a:	1
        	b:	2
        GC Policy rule#0:
        	All:		false
        	Filters:	type==source.local
        	Keep duration:	48h0m0s
        	Max used space:	512.00MB
        ");
        let json = as_json(&[worker()]);
        assert!(json.ends_with('\n'), "{json}");
        insta::assert_snapshot!(
            json,
            @r#"[{"buildkitVersion":{"package":"kiln","revision":"","version":"v0.1.0"},"gcPolicy":[{"all":false,"filter":["type==source.local"],"keepDuration":172800000000000,"maxUsedSpace":512000000,"minFreeSpace":0,"reservedSpace":0}],"id":"w1","labels":{"a":"1","b":"2"},"platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]}]"#
        );
    }
}
