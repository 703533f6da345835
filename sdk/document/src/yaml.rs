//! YAML text into a [`Node`] tree; the only file that knows the YAML engine.
//!
//! The engine replaces aliases, merges `<<` and enforces the [`Limits`]; the visitor here keeps the
//! place of every key and value, and keeps repeated keys so that all of them can be reported.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, MessageFormatter, Options};

use crate::{Diagnostic, Entry, Key, Limits, Node, Source, Span, Value};

/// Reads one YAML document.
pub(crate) fn read(source: &Source, limits: &Limits) -> Result<Node, Vec<Diagnostic>> {
    let read = serde_saphyr::from_str_with_options::<serde_saphyr::Spanned<Raw>>(
        source.text(),
        options(limits),
    );
    match read {
        Ok(raw) => Ok(place(raw, source).node),
        Err(error) => Err(vec![explain(error.without_snippet(), source, limits)]),
    }
}

fn options(limits: &Limits) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits.depth,
            flow_nesting_limit: limits.depth + 1,
            max_nodes: limits.nodes,
            max_events: limits.nodes.saturating_mul(4),
            max_aliases: limits.aliases,
            max_anchors: limits.aliases,
            max_merge_keys: limits.aliases,
            max_recorded_anchor_events: limits.nodes.saturating_mul(4),
            max_total_scalar_bytes: limits.bytes.saturating_mul(4),
            max_recorded_anchor_bytes: limits.bytes.saturating_mul(4),
            max_documents: 2,
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        emit_comments: false,
    }
}

/// A value as the engine hands it over, before places are turned into spans.
enum Raw {
    Scalar(Value),
    List(Vec<serde_saphyr::Spanned<Self>>),
    Map(Vec<(serde_saphyr::Spanned<String>, serde_saphyr::Spanned<Self>)>),
}

/// A node, and the place in the running text that it takes up: the alias, when it came by one.
struct Placed {
    node: Node,
    used: Span,
}

fn place(raw: serde_saphyr::Spanned<Raw>, source: &Source) -> Placed {
    let defined = span(raw.defined, source);
    let referenced = span(raw.referenced, source);
    let aliased = raw.defined != raw.referenced;
    let mut reach = defined;
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(items) => Value::List(
            items
                .into_iter()
                .map(|item| reached(place(item, source), &mut reach, aliased))
                .collect(),
        ),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| entry(key, value, &mut reach, aliased, source))
                .collect(),
        ),
    };
    Placed { node: Node { span: reach, value }, used: if aliased { referenced } else { reach } }
}

fn entry(
    key: serde_saphyr::Spanned<String>,
    value: serde_saphyr::Spanned<Raw>,
    reach: &mut Span,
    aliased: bool,
    source: &Source,
) -> Entry {
    let key_span = span(key.defined, source);
    if key.defined == key.referenced {
        extend(reach, key_span);
    }
    let mut value = reached(place(value, source), reach, aliased);
    // A key with no value: the engine places the nothing wherever it noticed.
    if value.value == Value::Null && value.span.is_empty() {
        value.span = key_span;
    }
    Entry { key: Key { name: key.value, span: key_span }, value }
}

/// Collections tell only their start; their end is where their last part ends.
fn reached(placed: Placed, reach: &mut Span, aliased: bool) -> Node {
    extend(reach, if aliased { placed.node.span } else { placed.used });
    placed.node
}

fn extend(reach: &mut Span, part: Span) {
    if part.start >= reach.start && !part.is_empty() {
        reach.end = reach.end.max(part.end);
    }
}

fn span(location: Location, source: &Source) -> Span {
    let (Some(start), Some(length)) = (location.span().byte_offset(), location.span().byte_len())
    else {
        return start_of(location, source);
    };
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(0);
    let text = source.slice(Span::new(start, start.saturating_add(length))).trim_end();
    Span::new(start, start + text.len())
}

fn start_of(location: Location, source: &Source) -> Span {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let offset = source.offset(crate::Position {
        line: number(location.line()),
        character: number(location.column()),
    });
    Span::new(offset, offset)
}

fn explain(error: &Error, source: &Source, limits: &Limits) -> Diagnostic {
    let message = match error {
        Error::AliasError { error, .. } => return explain(error, source, limits),
        Error::Budget { breach, .. } => budget(breach, limits),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => {
            "the aliases of this file stand for too much".to_owned()
        }
        Error::MultipleDocuments { .. } => "the file holds more than one YAML document".to_owned(),
        Error::NonFiniteFloat { .. } => "infinite numbers are not allowed".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => {
            "a key must be text, not a list or a mapping".to_owned()
        }
        other => lower_first(&serde_saphyr::DefaultMessageFormatter.format_message(other)),
    };
    let diagnostic = Diagnostic::error(message);
    let diagnostic = match error {
        Error::MultipleDocuments { .. } => {
            diagnostic.hint("remove the `---` line and what follows it")
        }
        Error::Budget { .. } => {
            diagnostic.note("files are limited so that a small text cannot take all memory or time")
        }
        _ => diagnostic,
    };
    match error.location().filter(|location| *location != Location::UNKNOWN) {
        Some(location) => diagnostic.at(visible(span(location, source), source)),
        None => diagnostic,
    }
}

/// An error at the end of a line or file points at something that can be seen.
fn visible(span: Span, source: &Source) -> Span {
    if !span.is_empty() {
        return span;
    }
    match source.text()[source.clamp(span).start..].chars().next() {
        Some(character) if character != '\n' => {
            Span::new(span.start, span.start + character.len_utf8())
        }
        _ => span,
    }
}

fn budget(breach: &BudgetBreach, limits: &Limits) -> String {
    match breach {
        BudgetBreach::Depth { .. } => {
            format!("the file is nested deeper than {} levels", limits.depth)
        }
        BudgetBreach::Nodes { .. }
        | BudgetBreach::Events { .. }
        | BudgetBreach::RecordedAnchorEvents { .. } => {
            format!(
                "the file holds more than {} values, counting what its aliases stand for",
                limits.nodes
            )
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::MergeKeys { .. } => {
            format!("the file uses more than {} anchors, aliases or merge keys", limits.aliases)
        }
        BudgetBreach::ScalarBytes { .. } | BudgetBreach::RecordedAnchorBytes { .. } => {
            format!("the text of this file grows beyond {} bytes", limits.bytes.saturating_mul(4))
        }
        BudgetBreach::Documents { .. } => "the file holds more than one YAML document".to_owned(),
        _ => "the file asks for more than is allowed".to_owned(),
    }
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    // `YAML …` stays as it is: only a capital that begins an ordinary word is lowered.
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(value.into())))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Raw, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Raw, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("infinite numbers are not allowed"))?;
        Ok(Raw::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
