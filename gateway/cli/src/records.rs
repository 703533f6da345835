//! Records of builds as tables and JSON.

use std::time::{Duration, SystemTime};

use kiln_progress::wire::system_time;
use kiln_wire::proto::control::{BuildHistoryRecord, Descriptor};
use serde_json::{Value, json};

use crate::output::{ago, go_duration, table};
use crate::progress::{one_line, rfc3339_nano};

const HEADER: [&str; 6] = ["BUILD", "FRONTEND", "STATUS", "STEPS", "STARTED", "TOOK"];

/// All records as a table.
pub(crate) fn as_table(records: &[BuildHistoryRecord], now: SystemTime) -> String {
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(|record| row(record, now)));
    table(&rows)
}

/// All records as a JSON array.
pub(crate) fn as_json(records: &[BuildHistoryRecord]) -> String {
    format!("{}\n", Value::Array(records.iter().map(json_of).collect()))
}

/// All that is known of a build.
pub(crate) fn json_of(record: &BuildHistoryRecord) -> Value {
    let time = |time: Option<_>| time.map(|time| rfc3339_nano(system_time(time)));
    let exporters = record.exporters.iter();
    let exporters =
        exporters.map(|exporter| json!({"type": exporter.r#type, "attrs": exporter.attrs}));
    let results = record.result.iter().flat_map(|result| &result.results);
    json!({
        "ref": record.r#ref,
        "frontend": record.frontend,
        "attrs": record.frontend_attrs,
        "exporters": exporters.collect::<Vec<_>>(),
        "status": status(record),
        "error": record.error.as_ref().map(|error| &error.message),
        "createdAt": time(record.created_at),
        "completedAt": time(record.completed_at),
        "steps": {
            "total": record.num_total_steps,
            "completed": record.num_completed_steps,
            "cached": record.num_cached_steps,
            "warnings": record.num_warnings,
        },
        "response": record.exporter_response,
        "results": results.map(|(_, result)| descriptor(result)).collect::<Vec<_>>(),
        "logs": record.logs.as_ref().map(descriptor),
        "trace": record.trace.as_ref().map(descriptor),
        "externalError": record.external_error.as_ref().map(descriptor),
        "pinned": record.pinned,
    })
}

fn descriptor(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    })
}

fn row(record: &BuildHistoryRecord, now: SystemTime) -> Vec<String> {
    let started = record.created_at.map(system_time);
    let ended = record.completed_at.map_or(now, system_time);
    let took = started.and_then(|started| ended.duration_since(started).ok());
    let steps = match record.num_cached_steps {
        _ if record.completed_at.is_none() => String::new(),
        0 => record.num_total_steps.to_string(),
        cached => format!("{} ({cached} cached)", record.num_total_steps),
    };
    vec![
        one_line(&record.r#ref),
        one_line(&record.frontend),
        status(record).to_owned(),
        steps,
        started.map_or(String::new(), |started| ago(started, now)),
        took.map_or(String::new(), short),
    ]
}

/// A duration: with tenths of seconds while it is short.
fn short(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        _ => go_duration(time),
    }
}

/// How far a build is, or how it ended.
pub(crate) fn status(record: &BuildHistoryRecord) -> &'static str {
    match (&record.completed_at, &record.error) {
        (None, _) => "running",
        (Some(_), None) => "completed",
        (Some(_), Some(error)) if error.code == tonic::Code::Cancelled as i32 => "canceled",
        (Some(_), Some(_)) => "error",
    }
}

#[cfg(test)]
mod tests {
    use kiln_wire::proto::rpc;
    use prost_types::Timestamp;

    use super::*;

    fn records() -> [BuildHistoryRecord; 3] {
        let at = |seconds| Some(Timestamp { seconds, nanos: 500_000_000 });
        let running = BuildHistoryRecord {
            r#ref: "now".into(),
            created_at: at(990),
            ..BuildHistoryRecord::default()
        };
        let good = BuildHistoryRecord {
            r#ref: "good".into(),
            frontend: "dockerfile.v0".into(),
            created_at: at(400),
            completed_at: at(473),
            num_total_steps: 7,
            num_cached_steps: 2,
            ..BuildHistoryRecord::default()
        };
        let bad = BuildHistoryRecord {
            r#ref: "b\u{7}ad".into(),
            completed_at: at(402),
            num_cached_steps: 0,
            error: Some(rpc::Status { code: 2, message: "exit code: 1".into(), details: vec![] }),
            ..good.clone()
        };
        [running, good, bad]
    }

    #[test]
    fn a_table_says_how_each_build_went() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let text = as_table(&records(), now);
        assert!(text.ends_with('\n'), "{text}");
        insta::assert_snapshot!(text, @"
        BUILD  FRONTEND       STATUS     STEPS         STARTED        TOOK
        now                   running                  9 seconds ago  9.5s
        good   dockerfile.v0  completed  7 (2 cached)  9 minutes ago  1m13s
        bad    dockerfile.v0  error      7             9 minutes ago  2.0s
        ");
    }

    #[test]
    fn json_has_the_words_of_the_error() {
        let json = json_of(&records()[2]);
        assert_eq!(json["error"], "exit code: 1");
        assert_eq!(json["steps"]["total"], 7);
        assert_eq!(json["completedAt"], "1970-01-01T00:06:42.5Z");
    }
}
