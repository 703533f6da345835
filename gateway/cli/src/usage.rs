//! Records of the build cache as tables, lists and JSON.

use std::time::SystemTime;

use kiln_progress::wire::system_time;
use kiln_wire::proto::control::UsageRecord;
use serde_json::{Value, json};

use crate::args::Program;
use crate::output::{ago, cut, table};
use crate::progress::{bytes, one_line, rfc3339_nano};

const HEADER: [&str; 4] = ["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"];
const DESCRIPTION: &str = "DESCRIPTION";

/// A description is not longer than this in a table, in characters.
const LONGEST: usize = 60;

/// All records as a table: BuildKit's for scripts that are made for `buildctl`, with what the records are
/// for people.
pub(crate) fn as_table(records: &[UsageRecord], now: SystemTime, program: Program) -> String {
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(|record| row(record, now)));
    if program == Program::Kiln {
        rows[0].push(DESCRIPTION.to_owned());
        for (row, record) in rows[1..].iter_mut().zip(records) {
            row.push(cut(&one_line(&record.description), LONGEST));
        }
    }
    table(&rows)
}

/// All that is known of each record, one after another.
pub(crate) fn as_list(records: &[UsageRecord]) -> String {
    records.iter().map(paragraph).collect()
}

/// All records as a JSON array.
pub(crate) fn as_json(records: &[UsageRecord]) -> String {
    let records: Vec<Value> = records.iter().map(json_of).collect();
    format!("{}\n", Value::Array(records))
}

/// How much the records take, by who uses it.
pub(crate) fn summary(records: &[UsageRecord]) -> String {
    let sum = |chosen: &dyn Fn(&UsageRecord) -> bool| -> u64 {
        records.iter().filter(|record| chosen(record)).map(size).sum()
    };
    let total = sum(&|_| true);
    let shared = sum(&|record| record.shared);
    let reclaimable = sum(&|record| !record.in_use);
    let mut text = String::new();
    if shared > 0 {
        text += &format!("Shared:\t\t{}\nPrivate:\t{}\n", bytes(shared), bytes(total - shared));
    }
    text + &format!("Reclaimable:\t{}\nTotal:\t\t{}\n", bytes(reclaimable), bytes(total))
}

/// How much was removed.
pub(crate) fn total(records: &[UsageRecord]) -> String {
    format!("Total:\t{}\n", bytes(records.iter().map(size).sum()))
}

fn size(record: &UsageRecord) -> u64 {
    u64::try_from(record.size).unwrap_or(0)
}

fn row(record: &UsageRecord, now: SystemTime) -> Vec<String> {
    let mark = |marked: bool| if marked { "*" } else { "" };
    let used = record.last_used_at.map(system_time).map_or(String::new(), |used| ago(used, now));
    vec![
        format!("{}{}", record.id, mark(record.mutable)),
        (!record.in_use).to_string(),
        format!("{}{}", bytes(size(record)), mark(record.shared)),
        used,
    ]
}

fn paragraph(record: &UsageRecord) -> String {
    let time = |time: Option<_>| time.map_or(String::new(), |time| rfc3339_nano(system_time(time)));
    let mut lines = vec![("ID", record.id.clone())];
    let parents = parents(record);
    if !parents.is_empty() {
        lines.push(("Parents", parents.join(",")));
    }
    lines.extend([
        ("Created at", time(record.created_at)),
        ("Mutable", record.mutable.to_string()),
        ("Reclaimable", (!record.in_use).to_string()),
        ("Shared", record.shared.to_string()),
        ("Size", bytes(size(record))),
    ]);
    if !record.description.is_empty() {
        lines.push(("Description", record.description.replace(char::is_control, " ")));
    }
    lines.push(("Usage count", record.usage_count.to_string()));
    if record.last_used_at.is_some() {
        lines.push(("Last used", time(record.last_used_at)));
    }
    if !record.record_type.is_empty() {
        lines.push(("Type", record.record_type.clone()));
    }
    let text: String =
        lines.iter().map(|(name, value)| format!("{:<15} {value}\n", format!("{name}:"))).collect();
    text + "\n"
}

/// Older daemons know one parent only.
fn parents(record: &UsageRecord) -> Vec<String> {
    match (&record.parents, record.parent.as_str()) {
        (parents, "") => parents.clone(),
        (parents, _) if !parents.is_empty() => parents.clone(),
        (_, parent) => vec![parent.to_owned()],
    }
}

fn json_of(record: &UsageRecord) -> Value {
    let time = |time: Option<_>| time.map(|time| rfc3339_nano(system_time(time)));
    json!({
        "id": record.id,
        "mutable": record.mutable,
        "inUse": record.in_use,
        "size": record.size,
        "createdAt": time(record.created_at),
        "lastUsedAt": time(record.last_used_at),
        "usageCount": record.usage_count,
        "parents": parents(record),
        "description": record.description,
        "recordType": record.record_type,
        "shared": record.shared,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kiln_progress::wire::timestamp;

    use super::*;

    fn records() -> Vec<UsageRecord> {
        let at = |seconds| Some(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        let base = UsageRecord {
            id: "k1m3".into(),
            size: 4_100,
            created_at: at(100),
            last_used_at: at(200),
            usage_count: 2,
            description: "pulled from docker.io/library/alpine".into(),
            record_type: "regular".into(),
            ..UsageRecord::default()
        };
        let mutable = UsageRecord {
            id: "zz".into(),
            mutable: true,
            in_use: true,
            shared: true,
            size: 2_000_000,
            last_used_at: None,
            parents: vec!["k1m3".into()],
            ..base.clone()
        };
        vec![base, mutable]
    }

    #[test]
    fn records_are_a_table() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7600);
        let people = as_table(&records(), now, Program::Kiln);
        assert!(people.lines().next().unwrap().ends_with("LAST ACCESSED  DESCRIPTION"), "{people}");
        assert!(people.contains("2 hours ago    pulled from docker.io/library/alpine"), "{people}");
        let text = as_table(&records(), now, Program::Buildctl) + &summary(&records());
        assert!(text.ends_with('\n'), "{text}");
        insta::assert_snapshot!(text, @"
        ID    RECLAIMABLE  SIZE     LAST ACCESSED
        k1m3  true         4.10kB   2 hours ago
        zz*   false        2.00MB*
        Shared:		2.00MB
        Private:	4.10kB
        Reclaimable:	4.10kB
        Total:		2.00MB
        ");
    }

    #[test]
    fn records_are_paragraphs() {
        let list = as_list(&records());
        assert!(list.ends_with("\n\n"), "{list}");
        insta::assert_snapshot!(list, @"
        ID:             k1m3
        Created at:     1970-01-01T00:01:40Z
        Mutable:        false
        Reclaimable:    true
        Shared:         false
        Size:           4.10kB
        Description:    pulled from docker.io/library/alpine
        Usage count:    2
        Last used:      1970-01-01T00:03:20Z
        Type:           regular

        ID:             zz
        Parents:        k1m3
        Created at:     1970-01-01T00:01:40Z
        Mutable:        true
        Reclaimable:    false
        Shared:         true
        Size:           2.00MB
        Description:    pulled from docker.io/library/alpine
        Usage count:    2
        Type:           regular
        ");
    }

    #[test]
    fn records_are_json() {
        let json = as_json(&records()[1..]);
        assert!(json.ends_with('\n'), "{json}");
        insta::assert_snapshot!(
            json,
            @r#"[{"createdAt":"1970-01-01T00:01:40Z","description":"pulled from docker.io/library/alpine","id":"zz","inUse":true,"lastUsedAt":null,"mutable":true,"parents":["k1m3"],"recordType":"regular","shared":true,"size":2000000,"usageCount":2}]"#
        );
    }
}
