//! What a JSON Schema says of a place: which keys and values may stand there, and what they mean.

use serde_json::Value;

use crate::outline::Step;

/// Alternatives of one place that are looked at; a schema that refers to itself has no end.
const MAX_ALTERNATIVES: usize = 64;

/// The schemas that hold for what is at the end of a path.
pub(crate) fn at<'s>(schema: &'s Value, path: &[Step]) -> Vec<&'s Value> {
    path.iter().fold(alternatives(schema, schema), |here, step| {
        let below = here.into_iter().filter_map(|here| match step {
            Step::Key(key) => {
                let own = here.get("properties").and_then(|known| known.get(key));
                own.or_else(|| here.get("additionalProperties"))
            }
            Step::Item => here.get("items"),
        });
        below.flat_map(|below| alternatives(schema, below)).take(MAX_ALTERNATIVES).collect()
    })
}

/// A schema with all that it refers to and chooses from.
fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut found: Vec<&Value> = Vec::new();
    let mut pending = vec![schema];
    while let Some(next) = pending.pop() {
        if found.len() >= MAX_ALTERNATIVES || found.iter().any(|one| std::ptr::eq(*one, next)) {
            continue;
        }
        found.push(next);
        let target = next.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        pending.extend(target.and_then(|pointer| root.pointer(pointer)));
        for choice in ["allOf", "oneOf", "anyOf"] {
            pending.extend(next.get(choice).and_then(Value::as_array).into_iter().flatten().rev());
        }
    }
    found
}

/// The keys of a mapping, each with what it means.
pub(crate) fn keys<'s>(root: &'s Value, here: &[&'s Value]) -> Vec<(&'s str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let known = here.iter().filter_map(|here| here.get("properties")?.as_object()).flatten();
    for (name, schema) in known {
        if found.iter().all(|(other, _)| other != name) {
            found.push((name, meaning(root, schema)));
        }
    }
    found
}

/// The values of a key that can be listed, each with what it means.
pub(crate) fn values(here: &[&Value]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |value: &Value, text: &str| {
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() && found.iter().all(|(other, _)| *other != word) {
            found.push((word, text.to_owned()));
        }
    };
    for schema in here {
        let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        if let Some(value) = schema.get("const") {
            add(value, text);
        }
        for value in schema.get("enum").and_then(Value::as_array).into_iter().flatten() {
            add(value, "");
        }
        if schema.get("type").is_some_and(|kind| kind == "boolean") {
            add(&Value::Bool(true), "");
            add(&Value::Bool(false), "");
        }
    }
    found
}

/// What a key means, in Markdown.
pub(crate) fn meaning(root: &Value, schema: &Value) -> String {
    let all = alternatives(root, schema);
    let said = all.iter().find_map(|schema| schema.get("description")?.as_str());
    let mut text = said.unwrap_or_default().to_owned();
    let default = schema.get("default").filter(|default| match default {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
    if let Some(default) = default {
        text += &format!("\n\nDefault: `{default}`");
    }
    let values: Vec<String> = values(&all).iter().map(|(word, _)| format!("`{word}`")).collect();
    if values.len() > 1 {
        text += &format!("\n\nOne of {}", values.join(", "));
    }
    text
}
