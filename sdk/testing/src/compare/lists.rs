//! Lists whose entries must be found in each other first.

use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::values::{Path, shown};
use super::{Found, Rank, graph};

const NULL: &Value = &Value::Null;

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The results of two builds by platform id, with null where one has none.
pub(super) fn by_id<'a>(
    expected: &'a Value,
    actual: &'a Value,
) -> Vec<(String, &'a Value, &'a Value)> {
    let id = |result: &Value| result["id"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<String> = items(expected).iter().chain(items(actual)).map(id).collect();
    ids.sort();
    ids.dedup();
    let find = |list: &'a Value, wanted: &str| {
        items(list).iter().find(|result| id(result) == wanted).unwrap_or(NULL)
    };
    ids.into_iter()
        .map(|wanted| (wanted.clone(), find(expected, &wanted), find(actual, &wanted)))
        .collect()
}

/// Entries in an order that counts, found by the text of one field.
pub(super) fn ordered(
    rank: Rank,
    path: &Path,
    field: &str,
    expected: &Value,
    actual: &Value,
    found: &mut Found,
) {
    let names = |list: &Value| {
        items(list).iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    let (wanted, got): (Vec<String>, Vec<String>) = (names(expected), names(actual));
    for change in capture_diff_slices(Algorithm::Patience, &wanted, &got) {
        let (old, new) = (change.old_range(), change.new_range());
        if let DiffOp::Equal { .. } = change {
            for (e, a) in old.zip(new) {
                let path = path.index(&wanted[e]);
                found.values(rank, &path, &items(expected)[e], &items(actual)[a]);
            }
            continue;
        }
        for e in old {
            found.add(rank, path, format!("missing: {:?}", wanted[e]));
        }
        for a in new {
            found.add(rank, path, format!("not expected: {:?}", got[a]));
        }
    }
}

/// The entries of two lists that are not in both.
fn differing<'a>(expected: &'a Value, actual: &'a Value) -> (Vec<&'a Value>, Vec<&'a Value>) {
    let missing = items(expected).iter().filter(|item| !items(actual).contains(item)).collect();
    let extra = items(actual).iter().filter(|item| !items(expected).contains(item)).collect();
    (missing, extra)
}

/// What was asked of the resolvers; the order says nothing.
pub(super) fn resolves(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    let (missing, mut extra) = differing(expected, actual);
    let about = |item: &Value| [&item["ref"], &item["identifier"], &item["platform"]].map(shown);
    for wanted in missing {
        let same = extra.iter().position(|got| about(got) == about(wanted));
        match same.map(|place| extra.remove(place)) {
            Some(got) => {
                let name = wanted["ref"].as_str().or_else(|| wanted["identifier"].as_str());
                found.values(Rank::Resolve, &path.index(name.unwrap_or_default()), wanted, got);
            }
            None => found.add(Rank::Resolve, path, format!("was not asked: {}", shown(wanted))),
        }
    }
    for got in extra {
        found.add(Rank::Resolve, path, format!("was asked and is not expected: {}", shown(got)));
    }
}

/// What was loaded on the way; the order says nothing.
pub(super) fn loads(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    let (missing, mut extra) = differing(expected, actual);
    let name = |load: &Value| load["ops"].get(0).map(graph::step).unwrap_or_default();
    for wanted in missing {
        let same = extra
            .iter()
            .position(|got| got["definition_sha256"] == wanted["definition_sha256"])
            .or_else(|| extra.iter().position(|got| name(got) == name(wanted)));
        let path = path.index(&name(wanted));
        let Some(got) = same.map(|place| extra.remove(place)) else {
            found.add(Rank::Load, &path, format!("was not loaded (reads {})", wanted["reads"]));
            continue;
        };
        graph::compare(Rank::Load, &path, wanted, got, found);
        for key in ["reads", "evaluate"] {
            found.values(Rank::Load, &path.key(key), &wanted[key], &got[key]);
        }
    }
    for got in extra {
        let message = format!("was loaded and is not expected (reads {})", got["reads"]);
        found.add(Rank::Load, &path.index(&name(got)), message);
    }
}
