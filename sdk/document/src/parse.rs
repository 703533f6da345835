//! The entry point: text in, a type or all mistakes out.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Diagnostic, Language, Limits, Node, Source, deserialize, json, toml_text, yaml};

/// Reads a document into `T`.
///
/// The text is read into a tree, checked against the JSON Schema of `T` so that every mistake is
/// found, and only then deserialised. `T` and the structs in it should carry
/// `#[serde(deny_unknown_fields)]`: that is what makes unknown keys an error.
///
/// # Errors
///
/// All mistakes in the order of the file, at most [`Limits::diagnostics`]; never empty.
pub fn parse<T: DeserializeOwned + JsonSchema>(
    source: &Source,
    language: Language,
    limits: &Limits,
) -> Result<T, Vec<Diagnostic>> {
    let tree = parse_tree(source, language, limits)?;
    check_tree::<T>(&tree, source, limits)?;
    read_tree(&tree)
}

/// Checks a tree against the JSON Schema of `T`, with the feature `schema`; the second half of [`parse`] is this and
/// [`read_tree`], for who changes the tree in between.
///
/// # Errors
///
/// All mistakes in the order of the file, at most [`Limits::diagnostics`]; never empty.
pub fn check_tree<T: JsonSchema>(
    tree: &Node,
    source: &Source,
    limits: &Limits,
) -> Result<(), Vec<Diagnostic>> {
    #[cfg(feature = "schema")]
    check_schema(tree, &schemars::schema_for!(T).to_value(), source, limits)?;
    #[cfg(not(feature = "schema"))]
    let _ = (tree, source, limits);
    Ok(())
}

/// As [`check_tree`], against a JSON Schema of which there is no type here.
///
/// # Errors
///
/// All mistakes in the order of the file, at most [`Limits::diagnostics`]; never empty.
#[cfg(feature = "schema")]
pub fn check_schema(
    tree: &Node,
    schema: &serde_json::Value,
    source: &Source,
    limits: &Limits,
) -> Result<(), Vec<Diagnostic>> {
    let mistakes = crate::check::check(tree, schema, source);
    if mistakes.is_empty() { Ok(()) } else { Err(bounded(mistakes, limits)) }
}

/// Builds `T` from a tree that [`check_tree`] has accepted. [`crate::Spanned`] values get the spans
/// of the tree, whatever source those are in.
///
/// # Errors
///
/// What a schema cannot say, the first of it: that a `TryFrom` behind a field refuses its value, for
/// example.
pub fn read_tree<T: DeserializeOwned>(tree: &Node) -> Result<T, Vec<Diagnostic>> {
    deserialize::from_node(tree).map_err(|mistake| vec![mistake])
}

/// Reads a document into a tree of values with their places, checked against nothing but the
/// limits and the rule that a key is given once.
///
/// # Errors
///
/// What [`parse`] says about syntax, limits and repeated keys.
pub fn parse_tree(
    source: &Source,
    language: Language,
    limits: &Limits,
) -> Result<Node, Vec<Diagnostic>> {
    let length = source.text().len();
    if length > limits.bytes {
        let message =
            format!("`{}` has {length} bytes; at most {} are read", source.name(), limits.bytes);
        return Err(vec![Diagnostic::error(message)]);
    }
    let tree = match language {
        Language::Yaml => yaml::read(source, limits),
        Language::Toml => toml_text::read(source, limits),
        Language::Json => json::read(source, limits),
    }
    .map_err(|mistakes| bounded(mistakes, limits))?;
    let mut mistakes = Vec::new();
    tree.duplicate_keys(&mut mistakes);
    if mistakes.is_empty() { Ok(tree) } else { Err(bounded(mistakes, limits)) }
}

/// The JSON Schema of `T`, pretty, with sorted keys and a line end, ready to be committed.
#[must_use]
pub fn schema<T: JsonSchema>() -> String {
    let schema = sorted(schemars::schema_for!(T).to_value());
    format!("{schema:#}\n")
}

/// Sorts all keys, so that the text does not depend on how serde_json was built.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let ordered: std::collections::BTreeMap<_, _> = map
                .into_iter()
                .map(|(key, value)| (key.clone(), unwrapped(&key, sorted(value))))
                .collect();
            Value::Object(ordered.into_iter().collect())
        }
        other => other,
    }
}

/// Descriptions come from comments, whose lines end where the source file's do.
fn unwrapped(key: &str, value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) if key == "description" => {
            let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
            paragraphs.collect::<Vec<_>>().join("\n\n").into()
        }
        other => other,
    }
}

fn bounded(mut mistakes: Vec<Diagnostic>, limits: &Limits) -> Vec<Diagnostic> {
    mistakes.sort_by_key(|mistake| mistake.span);
    mistakes.dedup();
    let most = limits.diagnostics.max(1);
    let hidden = mistakes.len().saturating_sub(most);
    mistakes.truncate(most);
    if hidden > 0
        && let Some(last) = mistakes.last_mut()
    {
        last.notes.push(format!("{hidden} more mistakes are not shown"));
    }
    mistakes
}
