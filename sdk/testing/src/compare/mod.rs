//! How an answer differs from the one that was expected, in words, the most telling first.
//!
//! Two values in the schema of `expected.json` come in. Ops are matched by what they are, so that
//! one changed command is one mismatch and not a different digest for every step behind it. Texts
//! called `*_raw` must be equal byte for byte, everything else as values; `{"status":
//! "unspecified"}` and a text form that was left out are equal to anything.

mod graph;
mod lists;
mod values;

use std::fmt;

use serde_json::{Map, Value};

use self::values::Path;

/// One difference between an expected and an actual answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it is, such as `build.results[linux/amd64]`.
    pub path: String,
    /// What differs, the expected side first.
    pub message: String,
    rank: Rank,
}

/// How much a mismatch tells; the smallest is shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Status,
    Error,
    Op,
    Config,
    Platforms,
    Warning,
    Resolve,
    Load,
    Subrequest,
    Metadata,
    Bytes,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found(Vec<Mismatch>);

impl Found {
    fn add(&mut self, rank: Rank, path: &Path, message: impl Into<String>) {
        self.0.push(Mismatch { path: path.to_string(), message: message.into(), rank });
    }

    /// Adds every place where two values differ.
    fn values(&mut self, rank: Rank, path: &Path, expected: &Value, actual: &Value) {
        values::differences(path, expected, actual, &mut |path, message| {
            self.add(rank, path, message);
        });
    }
}

/// All differences between two answers; none if they are equal.
pub fn compare(expected: &Value, actual: &Value) -> Vec<Mismatch> {
    let mut found = Found::default();
    let root = Path::default();
    for (key, expected, actual) in keys(expected, actual) {
        let path = root.key(&key);
        match key.as_str() {
            "build" => build(&path, expected, actual, &mut found),
            "subrequests" => {
                for (name, expected, actual) in keys(expected, actual) {
                    subrequest(&path.key(&name), expected, actual, &mut found);
                }
            }
            _ => found.values(Rank::Metadata, &path, expected, actual),
        }
    }
    found.0.sort_by_key(|mismatch| mismatch.rank);
    found.0
}

/// The keys of two objects with what each has there, or null.
fn keys<'a>(
    expected: &'a Value,
    actual: &'a Value,
) -> impl Iterator<Item = (String, &'a Value, &'a Value)> {
    let object = |value: &Value| value.as_object().map(Map::len).unwrap_or_default();
    let mut keys: Vec<String> = Vec::with_capacity(object(expected).max(object(actual)));
    for value in [expected, actual] {
        keys.extend(value.as_object().into_iter().flatten().map(|(key, _)| key.clone()));
    }
    keys.sort();
    keys.dedup();
    keys.into_iter().map(|key| {
        let (expected, actual) = (&expected[&key], &actual[&key]);
        (key, expected, actual)
    })
}

/// Whether the expected side says that there is nothing to compare.
fn unspecified(expected: &Value) -> bool {
    expected["status"] == "unspecified"
}

fn build(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    if unspecified(expected) {
        return;
    }
    if expected["status"] != actual["status"] {
        // Everything else differs too and would say nothing.
        return found.add(Rank::Status, path, other_status(expected, actual));
    }
    for (key, expected, actual) in keys(expected, actual) {
        let path = path.key(&key);
        match key.as_str() {
            "error" | "forward" => found.values(Rank::Error, &path, expected, actual),
            "results" => {
                for (id, expected, actual) in lists::by_id(expected, actual) {
                    result(&path.index(&id), expected, actual, found);
                }
            }
            "attestations" => {
                for (id, expected, actual) in keys(expected, actual) {
                    attestations(&path.index(&id), expected, actual, found);
                }
            }
            "warnings" => {
                lists::ordered(Rank::Warning, &path, "short", expected, actual, found);
            }
            "resolves" => lists::resolves(&path, expected, actual, found),
            "loads" => lists::loads(&path, expected, actual, found),
            "multi_platform" | "platforms" => {
                found.values(Rank::Platforms, &path, expected, actual);
            }
            _ => found.values(Rank::Metadata, &path, expected, actual),
        }
    }
}

/// A sentence for answers that are not even of the same kind.
fn other_status(expected: &Value, actual: &Value) -> String {
    let describe = |answer: &Value| match answer["status"].as_str() {
        Some("error") => format!("error {}", answer["error"]["message"]),
        Some("forward") if answer["forward"].is_object() => {
            format!("forward to {}", answer["forward"]["opts"]["source"])
        }
        Some(status) => status.to_owned(),
        None => "no answer".to_owned(),
    };
    format!("expected {}, got {}", describe(expected), describe(actual))
}

fn result(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    if expected.is_null() || actual.is_null() {
        let message = if actual.is_null() { "is missing" } else { "is not expected" };
        return found.add(Rank::Platforms, path, message);
    }
    graph::compare(Rank::Op, path, expected, actual, found);
    let same_config = expected["image_config"] == actual["image_config"];
    for (key, expected, actual) in keys(expected, actual) {
        let path = path.key(&key);
        match key.as_str() {
            "ops" | "terminal" | "definition_sha256" | "source" | "id" => {}
            // If the values differ that has been said already.
            "image_config_raw" if !same_config => {}
            "image_config" | "image_config_raw" | "base_image_config" => {
                found.values(Rank::Config, &path, expected, actual);
            }
            _ => found.values(Rank::Metadata, &path, expected, actual),
        }
    }
}

fn attestations(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    let none = Vec::new();
    let list = |value: &Value| value.as_array().map_or(0, Vec::len);
    if list(expected) != list(actual) {
        let message = format!("expected {}, got {}", list(expected), list(actual));
        return found.add(Rank::Metadata, path, message);
    }
    let pairs = expected.as_array().unwrap_or(&none).iter();
    for (n, (expected, actual)) in pairs.zip(actual.as_array().unwrap_or(&none)).enumerate() {
        let path = path.index(&n.to_string());
        for (key, expected, actual) in keys(expected, actual) {
            let path = path.key(&key);
            if key == "definition" && expected.is_object() && actual.is_object() {
                graph::compare(Rank::Metadata, &path, expected, actual, found);
            } else {
                found.values(Rank::Metadata, &path, expected, actual);
            }
        }
    }
}

fn subrequest(path: &Path, expected: &Value, actual: &Value, found: &mut Found) {
    if unspecified(expected) {
        return;
    }
    if expected["status"] != actual["status"] {
        return found.add(Rank::Subrequest, path, other_status(expected, actual));
    }
    for (key, expected, actual) in keys(expected, actual) {
        // The text was left out where its order is not defined.
        if key == "result_txt" && expected.is_null() {
            continue;
        }
        found.values(Rank::Subrequest, &path.key(&key), expected, actual);
    }
}
