//! A tree against the JSON Schema of its type: every mistake, said in the words of the file.
//!
//! The validator finds the mistakes; this file finds the place of each and what to suggest.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value as Json;

use crate::suggest::did_you_mean;
use crate::{Diagnostic, Fix, Key, Node, Source, Span, Value};

/// All mistakes of `tree`; not in the order of the file.
pub(crate) fn check(tree: &Node, schema: &Json, source: &Source) -> Vec<Diagnostic> {
    let instance = tree.to_json();
    let validator = match jsonschema::draft202012::new(schema) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![Diagnostic::error(format!(
                "the schema of this language is broken: {error}"
            ))];
        }
    };
    let mut checker = Checker {
        tree,
        schema,
        source,
        found: Vec::new(),
        guesses: Vec::new(),
        missing: Vec::new(),
    };
    validator.iter_errors(&instance).for_each(|error| checker.explain(&error));
    checker.finish()
}

struct Checker<'a> {
    tree: &'a Node,
    schema: &'a Json,
    source: &'a Source,
    found: Vec<Diagnostic>,
    /// Keys that an unknown key was probably meant to be, by the path of their mapping.
    guesses: Vec<(String, String)>,
    missing: Vec<(String, String, Diagnostic)>,
}

impl Checker<'_> {
    /// A missing key is not reported when the same mapping has a misspelling of it.
    fn finish(self) -> Vec<Diagnostic> {
        let Self { mut found, guesses, missing, .. } = self;
        let guessed = |path: &String, key: &String| {
            guesses.iter().any(|(place, guess)| place == path && guess == key)
        };
        found.extend(
            missing
                .into_iter()
                .filter(|(path, key, _)| !guessed(path, key))
                .map(|(_, _, mistake)| mistake),
        );
        found
    }

    fn explain(&mut self, error: &ValidationError<'_>) {
        let (node, key) = locate(self.tree, error.instance_path());
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                self.unknown_keys(node, unexpected, error);
            }
            Kind::Required { property } => {
                self.missing_key(node, key, property.as_str().unwrap_or_default(), error);
            }
            Kind::Type { .. } if self.tree.value == Value::Null => {
                // Of what is not there, the beginning is as good a place as any.
                self.found.push(Diagnostic::error("the file is empty").at(Span::new(0, 0)));
            }
            Kind::Type { kind } => self.found.push(wrong_type(node, &types(kind), self.source)),
            Kind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                self.found.push(not_an_option(
                    node,
                    &options.iter().collect::<Vec<_>>(),
                    self.source,
                ));
            }
            Kind::Constant { expected_value } => {
                self.found.push(not_an_option(node, &[expected_value], self.source));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.no_alternative(node, context, error);
            }
            Kind::FalseSchema => {
                self.found.push(Diagnostic::error("nothing may stand here").at(node.span));
            }
            Kind::MinItems { limit: 1 } => {
                self.found.push(Diagnostic::error("the list is empty").at(mark(node, key)));
            }
            Kind::MinLength { limit: 1 } => {
                self.found.push(Diagnostic::error("the text is empty").at(mark(node, key)));
            }
            _ => self.found.push(
                Diagnostic::error(error.masked_with("the value").to_string()).at(mark(node, key)),
            ),
        }
    }

    fn unknown_keys(&mut self, node: &Node, unexpected: &[String], error: &ValidationError<'_>) {
        let known = known_keys(self.schema, error.schema_path());
        for name in unexpected {
            let span = node.entry(name).map_or(node.span, |entry| entry.key.span);
            let mistake = Diagnostic::error(format!("unknown key `{name}`")).at(span);
            // A key that is already there was not the one meant.
            let free = known.iter().copied().filter(|known| node.entry(known).is_none());
            self.found.push(match did_you_mean(name, free) {
                Some(guess) => {
                    self.guesses.push((error.instance_path().to_string(), guess.to_owned()));
                    let fix = Fix::word(self.source, span, name, guess);
                    mistake.label(format!("did you mean `{guess}`?")).fixed_by(fix)
                }
                None => mistake.note(known_list(&known)),
            });
        }
    }

    fn missing_key(
        &mut self,
        node: &Node,
        key: Option<&Key>,
        property: &str,
        error: &ValidationError<'_>,
    ) {
        let mistake =
            Diagnostic::error(format!("missing key `{property}`")).at(first_key(node, key));
        let mistake = mistake.label(format!("this mapping has no `{property}`"));
        self.missing.push((error.instance_path().to_string(), property.to_owned(), mistake));
    }

    /// No alternative fits: explains the one the user most likely meant.
    fn no_alternative(
        &mut self,
        node: &Node,
        context: &[Vec<ValidationError<'static>>],
        error: &ValidationError<'_>,
    ) {
        let here = error.instance_path();
        let right_kind: Vec<_> = context
            .iter()
            .filter(|branch| !branch.iter().any(|error| refuses_kind(error, here)))
            .collect();
        if let Some(branch) = right_kind.iter().min_by_key(|branch| branch.len()) {
            return branch.iter().for_each(|error| self.explain(error));
        }
        let all = || context.iter().flatten().filter(|error| error.instance_path() == here);
        let options: Vec<&Json> = all().flat_map(options_of).collect();
        if !options.is_empty() && matches!(node.value, Value::Text(_)) {
            return self.found.push(not_an_option(node, &options, self.source));
        }
        let mut kinds: Vec<JsonType> = Vec::new();
        for kind in all().flat_map(|error| match error.kind() {
            Kind::Type { kind } => types(kind),
            Kind::Enum { .. } | Kind::Constant { .. } => vec![JsonType::String],
            _ => Vec::new(),
        }) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        self.found.push(wrong_type(node, &kinds, self.source));
    }
}

fn refuses_kind(error: &ValidationError<'_>, here: &Location) -> bool {
    error.instance_path() == here
        && matches!(error.kind(), Kind::Type { .. } | Kind::Enum { .. } | Kind::Constant { .. })
}

fn options_of<'a>(error: &'a ValidationError<'static>) -> Vec<&'a Json> {
    match error.kind() {
        Kind::Constant { expected_value } => vec![expected_value],
        Kind::Enum { options } => options.as_array().into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

/// The node at `path`, and the key it stands under.
fn locate<'a>(tree: &'a Node, path: &Location) -> (&'a Node, Option<&'a Key>) {
    let mut node = tree;
    let mut key = None;
    for segment in path.segments() {
        let next = match (&node.value, segment) {
            (Value::List(items), LocationSegment::Index(index)) => {
                items.get(index).map(|item| (item, key))
            }
            (_, LocationSegment::Property(name)) => {
                node.entry(&name).map(|entry| (&entry.value, Some(&entry.key)))
            }
            _ => None,
        };
        let Some((below, its_key)) = next else { break };
        (node, key) = (below, its_key);
    }
    (node, key)
}

/// What to underline for a value: itself, or its key when the value cannot be seen.
fn mark(node: &Node, key: Option<&Key>) -> Span {
    match key {
        Some(key) if node.span.is_empty() => key.span,
        _ => node.span,
    }
}

fn first_key(node: &Node, key: Option<&Key>) -> Span {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries[0].key.span,
        _ => mark(node, key),
    }
}

/// The keys the schema knows where `additionalProperties` forbade one.
fn known_keys<'a>(schema: &'a Json, schema_path: &Location) -> Vec<&'a str> {
    let path = schema_path.as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema
        .pointer(parent)
        .and_then(|object| object.get("properties"))
        .and_then(Json::as_object);
    properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn known_list(known: &[&str]) -> String {
    match known {
        [] => "no keys are known here".to_owned(),
        known => format!("known keys are {}", quoted(known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn not_an_option(node: &Node, options: &[&Json], source: &Source) -> Diagnostic {
    let words: Vec<String> = options
        .iter()
        .map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = match words.as_slice() {
        [one] => format!("expected `{one}`"),
        many => format!("expected one of {}", quoted(many)),
    };
    let Value::Text(found) = &node.value else {
        let mistake = Diagnostic::error(format!("{wanted}, found {}", node.kind())).at(node.span);
        return quote_hint(mistake, node, source);
    };
    let mistake = Diagnostic::error(format!("{wanted}, found `{found}`")).at(node.span);
    match did_you_mean(found, words) {
        Some(guess) => mistake
            .label(format!("did you mean `{guess}`?"))
            .fixed_by(Fix::word(source, node.span, found, guess)),
        None => mistake,
    }
}

fn wrong_type(node: &Node, wanted: &[JsonType], source: &Source) -> Diagnostic {
    // "Or nothing" is how optional keys are written in a schema; nobody wants to read it.
    let mut names: Vec<&str> = wanted
        .iter()
        .filter(|kind| **kind != JsonType::Null)
        .map(|kind| type_name(*kind))
        .collect();
    if names.is_empty() {
        names.push("nothing");
    }
    let wanted_names = names.join(" or ");
    let message = format!("expected {wanted_names}, found {}", node.kind());
    let mistake =
        Diagnostic::error(message).at(node.span).label(format!("expected {wanted_names}"));
    match node.value {
        Value::Bool(_) | Value::Number(_) if wanted.contains(&JsonType::String) => {
            quote_hint(mistake, node, source)
        }
        Value::Text(_) if wanted == [JsonType::Array] => {
            mistake.hint("begin each item of a list with `- `, or write `[…]`")
        }
        Value::Null if !wanted.contains(&JsonType::Null) => {
            mistake.hint("give a value or remove the key")
        }
        _ => mistake,
    }
}

/// `22.04` is a number; who meant text has to say so.
fn quote_hint(mistake: Diagnostic, node: &Node, source: &Source) -> Diagnostic {
    let written = source.slice(node.span);
    if matches!(node.value, Value::Bool(_) | Value::Number(_))
        && !written.is_empty()
        && written.len() < 80
    {
        let quoted = format!("\"{written}\"");
        let fix = Fix::new("put it in quotes", node.span, &quoted);
        return mistake.hint(format!("write {quoted}, with quotes, to make it text")).fixed_by(fix);
    }
    mistake
}

fn types(kind: &TypeKind) -> Vec<JsonType> {
    match kind {
        TypeKind::Single(kind) => vec![*kind],
        TypeKind::Multiple(kinds) => kinds.iter().collect(),
    }
}

fn type_name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "nothing",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "a list",
        JsonType::Object => "a mapping",
    }
}
