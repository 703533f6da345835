//! Where two JSON values differ, down to the smallest part that does.

use std::fmt;

use serde_json::Value;

/// How many characters of a text are shown on each side of a difference.
const AROUND: usize = 40;

/// The longest value that is shown whole.
const WHOLE: usize = 160;

/// A place in a value, such as `build.results[linux/amd64].epoch`.
#[derive(Clone, Debug, Default)]
pub(super) struct Path(String);

impl Path {
    /// A field of an object.
    pub(super) fn key(&self, key: &str) -> Self {
        match self.0.is_empty() {
            true => Self(key.to_owned()),
            false => Self(format!("{}.{key}", self.0)),
        }
    }

    /// An entry of a list; no name, no brackets.
    pub(super) fn index(&self, name: &str) -> Self {
        match name.is_empty() {
            true => self.clone(),
            false => Self(format!("{}[{name}]", self.0)),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Calls `tell` for every place where two values differ.
pub(super) fn differences(
    path: &Path,
    expected: &Value,
    actual: &Value,
    tell: &mut dyn FnMut(&Path, String),
) {
    if expected == actual {
        return;
    }
    match (expected, actual) {
        (Value::Object(_), Value::Object(_)) => {
            for (key, expected, actual) in super::keys(expected, actual) {
                differences(&path.key(&key), expected, actual, tell);
            }
        }
        (Value::Array(e), Value::Array(a)) if e.len() == a.len() => {
            for (n, (expected, actual)) in e.iter().zip(a).enumerate() {
                differences(&path.index(&n.to_string()), expected, actual, tell);
            }
        }
        (Value::String(e), Value::String(a)) => tell(path, texts(e, a)),
        (Value::Null, actual) => tell(path, format!("not expected: {}", shown(actual))),
        (expected, Value::Null) => tell(path, format!("missing: {}", shown(expected))),
        _ => tell(path, format!("{} != {}", shown(expected), shown(actual))),
    }
}

/// A value on one line, cut in the middle if it is long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= WHOLE {
        return text;
    }
    let head: String = text.chars().take(WHOLE).collect();
    format!("{head}…")
}

/// Two texts that differ, around the place where they do.
fn texts(expected: &str, actual: &str) -> String {
    if expected.chars().count().max(actual.chars().count()) <= WHOLE {
        return format!("{expected:?} != {actual:?}");
    }
    let same = expected.chars().zip(actual.chars()).take_while(|(e, a)| e == a).count();
    let around = |text: &str| {
        let start = same.saturating_sub(AROUND);
        let part: String = text.chars().skip(start).take(2 * AROUND).collect();
        let ends = start + 2 * AROUND >= text.chars().count();
        let (before, after) = (if start > 0 { "…" } else { "" }, if ends { "" } else { "…" });
        format!("{before}{part:?}{after}")
    };
    format!("{} != {} (from character {same})", around(expected), around(actual))
}
