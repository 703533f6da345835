//! TOML text into a [`Node`] tree; the only file that knows the TOML parser.
//!
//! The parser goes on after a mistake, so all syntax errors of a file come at once.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use crate::node::duplicate_key;
use crate::{Diagnostic, Entry, Key, Limits, Node, Source, Span, Value};

/// Reads one TOML document.
pub(crate) fn read(source: &Source, limits: &Limits) -> Result<Node, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        let mut keys = Vec::new();
        table_keys(table.get_ref(), &mut keys);
        return Err(errors
            .iter()
            .take(limits.diagnostics)
            .map(|error| explain(error, source, &keys))
            .collect());
    }
    let mut reader = Reader { limits, nodes: 0 };
    let span = Span::new(0, source.text().trim_end().len());
    let value = reader.table(table.into_inner(), 1).map_err(|mistake| vec![mistake])?;
    Ok(Node { span, value })
}

fn explain(error: &toml::de::Error, source: &Source, keys: &[Span]) -> Diagnostic {
    let Some(range) = error.span() else { return Diagnostic::error(error.message()) };
    let span = Span::new(range.start, range.end);
    if error.message() == "duplicate key" {
        let name = source.slice(span);
        let earlier =
            keys.iter().filter(|key| key.start < span.start && source.slice(**key) == name).max();
        return duplicate_key(name.trim_matches(['"', '\'']), span, earlier.copied());
    }
    Diagnostic::error(error.message()).at(span)
}

fn table_keys(table: &DeTable<'_>, keys: &mut Vec<Span>) {
    for (key, value) in table.iter() {
        keys.push(Span::new(key.span().start, key.span().end));
        value_keys(value.get_ref(), keys);
    }
}

fn value_keys(value: &DeValue<'_>, keys: &mut Vec<Span>) {
    match value {
        DeValue::Table(table) => table_keys(table, keys),
        DeValue::Array(items) => items.iter().for_each(|item| value_keys(item.get_ref(), keys)),
        _ => {}
    }
}

struct Reader<'a> {
    limits: &'a Limits,
    nodes: usize,
}

impl Reader<'_> {
    fn node(&mut self, value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Diagnostic> {
        let span = Span::new(value.span().start, value.span().end);
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(Diagnostic::error(format!(
                "the file holds more than {} values",
                self.limits.nodes
            ))
            .at(span));
        }
        if depth > self.limits.depth {
            return Err(Diagnostic::error(format!(
                "the file is nested deeper than {} levels",
                self.limits.depth
            ))
            .at(span));
        }
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(value) => Value::Text(value.to_string()),
            DeValue::Integer(number) => Value::Number(integer(&number, span)?),
            DeValue::Float(number) => Value::Number(float(&number, span)?),
            DeValue::Table(table) => self.table(table, depth + 1)?,
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| self.node(item, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Node { span, value })
    }

    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Result<Value, Diagnostic> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let span = Span::new(key.span().start, key.span().end);
            entries.push(Entry {
                key: Key { name: key.into_inner().into_owned(), span },
                value: self.node(value, depth)?,
            });
        }
        // The parser sorts by name; people expect the order of the file.
        entries.sort_by_key(|entry| entry.key.span);
        Ok(Value::Map(entries))
    }
}

fn integer(number: &DeInteger<'_>, span: Span) -> Result<Number, Diagnostic> {
    i64::from_str_radix(number.as_str(), number.radix())
        .map(Number::from)
        .map_err(|_| Diagnostic::error("the number does not fit into 64 bits").at(span))
}

fn float(number: &DeFloat<'_>, span: Span) -> Result<Number, Diagnostic> {
    let value = number.as_str().parse::<f64>().ok().and_then(Number::from_f64);
    value.ok_or_else(|| Diagnostic::error("infinite numbers are not allowed").at(span))
}
