//! Two graphs, op by op.
//!
//! A digest changes with every digest before it, so ops are first matched, then the digests of the
//! actual graph are replaced by those of the ops they stand for, and only then compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::values::Path;
use super::{Found, Rank, keys};

/// Tells how the ops, the terminal and the source maps of two definitions differ.
pub(super) fn compare(
    rank: Rank,
    path: &Path,
    expected: &Value,
    actual: &Value,
    found: &mut Found,
) {
    let before = found.0.len();
    if let Some(why) = actual["invalid"].as_str() {
        found.add(rank, path, format!("the definition does not decode: {why}"));
    }
    let none = Vec::new();
    let ops = |value: &'_ Value| value["ops"].as_array().cloned().unwrap_or_default();
    let (wanted, got) = (ops(expected), ops(actual));
    let pairs = pair(&wanted, &got);
    let digests: BTreeMap<&str, &str> = pairs
        .iter()
        .filter_map(|(e, a)| Some((digest(&got[(*a)?]), digest(&wanted[(*e)?]))))
        .collect();
    for (e, a) in &pairs {
        match (e.map(|n| &wanted[n]), a.map(|n| &got[n])) {
            (Some(op), None) => {
                found.add(rank, &path.key("ops"), format!("missing: {}", step(op)));
            }
            (None, Some(op)) => {
                found.add(rank, &path.key("ops"), format!("not expected: {}", step(op)));
            }
            (Some(expected), Some(actual)) => {
                let path = path.key("ops").index(&step(expected));
                let translated = translate(&actual["op_json"], &digests);
                found.values(rank, &path, &expected["op_json"], &translated);
                let (said, says) = (&expected["metadata_json"], &actual["metadata_json"]);
                found.values(rank, &path.key("metadata"), said, says);
            }
            (None, None) => {}
        }
    }
    for key in ["terminal", "source"] {
        let translated = translate(&actual[key], &digests);
        let path = path.key(key);
        for (part, expected, actual) in keys(&expected[key], &translated) {
            let path = path.key(&part);
            if part != "locations" {
                found.values(rank, &path, expected, actual);
                continue;
            }
            for (of, expected, actual) in keys(expected, actual) {
                let named = wanted.iter().find(|op| digest(op) == of).map(step);
                found.values(rank, &path.index(&named.unwrap_or(of)), expected, actual);
            }
        }
    }
    if found.0.len() > before {
        return;
    }
    // Equal in every word: what is left is how the words were written.
    for (e, a) in expected["ops"].as_array().unwrap_or(&none).iter().zip(&got) {
        let path = path.key("ops").index(&step(e));
        if e["op_base64"] != a["op_base64"] {
            return found.add(Rank::Bytes, &path, "equal fields, but other bytes");
        }
        found.values(Rank::Bytes, &path.key("digest"), &e["digest"], &a["digest"]);
    }
    let sha = path.key("definition_sha256");
    found.values(Rank::Bytes, &sha, &expected["definition_sha256"], &actual["definition_sha256"]);
}

fn digest(op: &Value) -> &str {
    op["digest"].as_str().unwrap_or_default()
}

/// Which op of one list is which of the other, in order.
fn pair(expected: &[Value], actual: &[Value]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut pairs = Vec::new();
    let names = |ops: &[Value]| ops.iter().map(step).collect::<Vec<_>>();
    for change in capture_diff_slices(Algorithm::Patience, &names(expected), &names(actual)) {
        match change {
            DiffOp::Equal { old_index, new_index, len } => {
                pairs.extend((0..len).map(|n| (Some(old_index + n), Some(new_index + n))));
            }
            DiffOp::Delete { old_index, old_len, .. } => {
                pairs.extend((0..old_len).map(|n| (Some(old_index + n), None)));
            }
            DiffOp::Insert { new_index, new_len, .. } => {
                pairs.extend((0..new_len).map(|n| (None, Some(new_index + n))));
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                let old = (old_index..old_index + old_len).collect::<Vec<_>>();
                replaced(&old, new_index..new_index + new_len, expected, actual, &mut pairs);
            }
        }
    }
    pairs
}

/// Within a part that was replaced, ops of one kind are taken for each other, in order.
fn replaced(
    old: &[usize],
    new: std::ops::Range<usize>,
    expected: &[Value],
    actual: &[Value],
    pairs: &mut Vec<(Option<usize>, Option<usize>)>,
) {
    let mut used = BTreeSet::new();
    for e in old {
        let a = new.clone().find(|a| !used.contains(a) && kind(&actual[*a]) == kind(&expected[*e]));
        used.extend(a);
        pairs.push((Some(*e), a));
    }
    pairs.extend(new.filter(|a| !used.contains(a)).map(|a| (None, Some(a))));
}

/// The kind of an op; the last one has none.
fn kind(op: &Value) -> &str {
    let kinds = ["source", "exec", "file", "merge", "diff", "build", "passthrough"];
    kinds.into_iter().find(|kind| op["op_json"].get(*kind).is_some()).unwrap_or("end")
}

/// What an op is called: its own name, or what it is.
pub(super) fn step(op: &Value) -> String {
    let description = &op["metadata_json"]["description"];
    let said = ["llb.customname", "com.docker.dockerfile.v1.command"]
        .into_iter()
        .find_map(|key| description[key].as_str());
    let inner = &op["op_json"][kind(op)];
    match (said, kind(op)) {
        (Some(name), _) => name.to_owned(),
        (None, "source") => inner["identifier"].as_str().unwrap_or("source").to_owned(),
        (None, "exec") => format!("exec {}", inner["meta"]["args"]),
        (None, kind) => kind.to_owned(),
    }
}

/// The same value with digests of the actual graph replaced by those they stand for.
fn translate(value: &Value, digests: &BTreeMap<&str, &str>) -> Value {
    let known = |text: &str| digests.get(text).map_or_else(|| text.to_owned(), |d| (*d).to_owned());
    match value {
        Value::String(text) => known(text).into(),
        Value::Array(items) => items.iter().map(|item| translate(item, digests)).collect(),
        Value::Object(_) => keys(value, value)
            .map(|(key, item, _)| (known(&key), translate(item, digests)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}
