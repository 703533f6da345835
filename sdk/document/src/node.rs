//! The tree every language is read into: a value, and where each key and value stands.

use serde_json::Number;

use crate::{Diagnostic, Span};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value stands; for what a YAML alias brings in, where it was defined.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value as all three languages know it.
#[derive(Debug, Clone, PartialEq)]
// Complete: these are the values of JSON.
pub enum Value {
    /// Nothing: `null`, `~`, or a key with no value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; never infinite.
    Number(Number),
    /// Text. Dates of TOML are text too.
    Text(String),
    /// A list, in the order of the file.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys are unique once a document is parsed.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// What it is set to.
    pub value: Node,
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key as text.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// The value of `key`, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`, when this is a mapping that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.name == key),
            _ => None,
        }
    }

    /// What kind of value this is, for people: `a list`, `a string`, `nothing`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The tree without its places.
    #[cfg(feature = "schema")]
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(value) => serde_json::Value::Number(value.clone()),
            Value::Text(value) => serde_json::Value::String(value.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let pairs =
                    entries.iter().map(|entry| (entry.key.name.clone(), entry.value.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    /// Reports every key that is given twice, with both places.
    pub(crate) fn duplicate_keys(&self, found: &mut Vec<Diagnostic>) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.duplicate_keys(found)),
            Value::Map(entries) => {
                let mut first = std::collections::BTreeMap::new();
                for Entry { key, value } in entries {
                    if let Some(earlier) = first.get(&key.name) {
                        found.push(duplicate_key(&key.name, key.span, Some(*earlier)));
                    } else {
                        first.insert(&key.name, key.span);
                    }
                    value.duplicate_keys(found);
                }
            }
            _ => {}
        }
    }
}

/// The mistake of giving `name` at `span` although it was given at `earlier`.
pub(crate) fn duplicate_key(name: &str, span: Span, earlier: Option<Span>) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("key `{name}` is given twice"))
        .at(span)
        .label("given again here");
    match earlier {
        Some(earlier) => diagnostic.related(earlier, "first given here"),
        None => diagnostic,
    }
}
