//! A tree against the JSON Schema of its type: every mistake, said in the words of the file.
//!
//! The validator finds the mistakes; this file finds the place of each and what to suggest.

use serde_json::Value as Json;

use crate::suggest::did_you_mean;
use crate::validate::{Kind, Mistake, Step, Type, validate};
use crate::{Diagnostic, Fix, Key, Node, Source, Span, Value};

/// All mistakes of `tree`; not in the order of the file.
pub(crate) fn check(tree: &Node, schema: &Json, source: &Source) -> Vec<Diagnostic> {
    let mistakes = match validate(schema, &tree.to_json()) {
        Ok(mistakes) => mistakes,
        Err(error) => {
            let message = format!("the schema of this language is broken: {error}");
            return vec![Diagnostic::error(message)];
        }
    };
    let mut checker =
        Checker { tree, source, found: Vec::new(), guesses: Vec::new(), missing: Vec::new() };
    mistakes.iter().for_each(|mistake| checker.explain(mistake));
    checker.finish()
}

struct Checker<'a> {
    tree: &'a Node,
    source: &'a Source,
    found: Vec<Diagnostic>,
    /// Keys that an unknown key was probably meant to be, by the path of their mapping.
    guesses: Vec<(Vec<Step>, String)>,
    missing: Vec<(Vec<Step>, String, Diagnostic)>,
}

impl Checker<'_> {
    /// A missing key is not reported when the same mapping has a misspelling of it.
    fn finish(self) -> Vec<Diagnostic> {
        let Self { mut found, guesses, missing, .. } = self;
        let guessed = |path: &[Step], key: &str| {
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

    fn explain(&mut self, mistake: &Mistake<'_>) {
        let (node, key) = locate(self.tree, &mistake.path);
        match &mistake.kind {
            Kind::UnknownKeys(unexpected) => self.unknown_keys(node, unexpected, mistake),
            Kind::MissingKey(name) => self.missing_key(node, key, name, mistake),
            Kind::Type(_) if self.tree.value == Value::Null => {
                // Of what is not there, the beginning is as good a place as any.
                self.found.push(Diagnostic::error("the file is empty").at(Span::new(0, 0)));
            }
            Kind::Type(types) => self.found.push(wrong_type(node, types, self.source)),
            Kind::Options(options) => self.found.push(not_an_option(node, options, self.source)),
            Kind::Alternatives(refused) => self.no_alternative(node, refused, mistake),
            Kind::Nothing => {
                self.found.push(Diagnostic::error("nothing may stand here").at(node.span));
            }
            Kind::EmptyList => {
                self.found.push(Diagnostic::error("the list is empty").at(mark(node, key)));
            }
            Kind::EmptyText => {
                self.found.push(Diagnostic::error("the text is empty").at(mark(node, key)));
            }
            Kind::Other(words) => {
                self.found.push(Diagnostic::error(words.clone()).at(mark(node, key)));
            }
        }
    }

    fn unknown_keys(&mut self, node: &Node, unexpected: &[String], mistake: &Mistake<'_>) {
        let known = known_keys(mistake.schema);
        let path = &mistake.path;
        for name in unexpected {
            let span = node.entry(name).map_or(node.span, |entry| entry.key.span);
            let mistake = Diagnostic::error(format!("unknown key `{name}`")).at(span);
            // A key that is already there was not the one meant.
            let free = known.iter().copied().filter(|known| node.entry(known).is_none());
            self.found.push(match did_you_mean(name, free) {
                Some(guess) => {
                    self.guesses.push((path.clone(), guess.to_owned()));
                    let fix = Fix::word(self.source, span, name, guess);
                    mistake.label(format!("did you mean `{guess}`?")).fixed_by(fix)
                }
                None => mistake.note(known_list(&known)),
            });
        }
    }

    fn missing_key(&mut self, node: &Node, key: Option<&Key>, name: &str, mistake: &Mistake<'_>) {
        let missing = Diagnostic::error(format!("missing key `{name}`")).at(first_key(node, key));
        let missing = missing.label(format!("this mapping has no `{name}`"));
        self.missing.push((mistake.path.clone(), name.to_owned(), missing));
    }

    /// No alternative fits: explains the one the user most likely meant.
    fn no_alternative(&mut self, node: &Node, refused: &[Vec<Mistake<'_>>], mistake: &Mistake<'_>) {
        let here = &mistake.path;
        let right_kind: Vec<_> = refused
            .iter()
            .filter(|branch| !branch.iter().any(|mistake| refuses_kind(mistake, here)))
            .collect();
        if let Some(branch) = right_kind.iter().min_by_key(|branch| branch.len()) {
            return branch.iter().for_each(|mistake| self.explain(mistake));
        }
        let all = || refused.iter().flatten().filter(|mistake| mistake.path == *here);
        let options: Vec<&Json> = all().flat_map(options_of).collect();
        if !options.is_empty() && matches!(node.value, Value::Text(_)) {
            return self.found.push(not_an_option(node, &options, self.source));
        }
        let mut kinds: Vec<Type> = Vec::new();
        for kind in all().flat_map(|mistake| match &mistake.kind {
            Kind::Type(types) => types.clone(),
            Kind::Options(_) => vec![Type::String],
            _ => Vec::new(),
        }) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        self.found.push(wrong_type(node, &kinds, self.source));
    }
}

fn refuses_kind(mistake: &Mistake<'_>, here: &[Step]) -> bool {
    mistake.path == here && matches!(mistake.kind, Kind::Type(_) | Kind::Options(_))
}

fn options_of<'s>(mistake: &Mistake<'s>) -> Vec<&'s Json> {
    match &mistake.kind {
        Kind::Options(options) => options.clone(),
        _ => Vec::new(),
    }
}

/// The node at `path`, and the key it stands under.
fn locate<'a>(tree: &'a Node, path: &[Step]) -> (&'a Node, Option<&'a Key>) {
    let mut node = tree;
    let mut key = None;
    for step in path {
        let next = match (&node.value, step) {
            (Value::List(items), Step::Index(index)) => items.get(*index).map(|item| (item, key)),
            (_, Step::Key(name)) => node.entry(name).map(|entry| (&entry.value, Some(&entry.key))),
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

/// The keys that a schema knows which forbids all others.
fn known_keys(schema: &Json) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Json::as_object);
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

fn wrong_type(node: &Node, wanted: &[Type], source: &Source) -> Diagnostic {
    // "Or nothing" is how optional keys are written in a schema; nobody wants to read it.
    let mut names: Vec<&str> =
        wanted.iter().filter(|kind| **kind != Type::Null).map(|kind| type_name(*kind)).collect();
    if names.is_empty() {
        names.push("nothing");
    }
    let wanted_names = names.join(" or ");
    let message = format!("expected {wanted_names}, found {}", node.kind());
    let mistake =
        Diagnostic::error(message).at(node.span).label(format!("expected {wanted_names}"));
    match node.value {
        Value::Bool(_) | Value::Number(_) if wanted.contains(&Type::String) => {
            quote_hint(mistake, node, source)
        }
        Value::Text(_) if wanted == [Type::Array] => {
            mistake.hint("begin each item of a list with `- `, or write `[…]`")
        }
        Value::Null if !wanted.contains(&Type::Null) => {
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

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Null => "nothing",
        Type::Boolean => "`true` or `false`",
        Type::Integer => "a whole number",
        Type::Number => "a number",
        Type::String => "a string",
        Type::Array => "a list",
        Type::Object => "a mapping",
    }
}
