//! What becomes of the values that were given, by the table of keys.
//!
//! A tree of values comes in; errors for what is refused and one remark per reason why something has
//! no effect go out.

use std::collections::BTreeMap;

use kiln_document::{Diagnostic, Node, Value};

use super::keys::{self, Treatment};

/// What the table says about a tree.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// What is refused.
    pub(super) mistakes: Vec<Diagnostic>,
    /// Keys that have no effect, by the reason.
    idle: BTreeMap<&'static str, Vec<String>>,
}

impl Judgement {
    /// Looks every given value up.
    pub(super) fn of(tree: &Node) -> Self {
        let mut judgement = Self::default();
        judgement.walk(tree, &mut Vec::new());
        judgement
    }

    /// A line for the log per reason.
    pub(super) fn remarks(&self) -> impl Iterator<Item = String> {
        self.idle.iter().map(|(reason, keys)| format!("no effect: {} ({reason})", keys.join(", ")))
    }

    fn walk<'a>(&mut self, node: &'a Node, path: &mut Vec<&'a str>) {
        if let Some(key) = keys::find(path).filter(|_| !path.is_empty()) {
            return self.judge(node, path, key.treatment);
        }
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.walk(item, path)),
            Value::Map(entries) => entries.iter().for_each(|entry| {
                path.push(&entry.key.name);
                self.walk(&entry.value, path);
                path.pop();
            }),
            _ => {}
        }
    }

    fn judge(&mut self, node: &Node, path: &[&str], treatment: Treatment) {
        if matches!(node.value, Value::Null) {
            return;
        }
        match treatment {
            Treatment::Honoured => {}
            Treatment::Idle(reason) => {
                let keys = self.idle.entry(reason).or_default();
                let name = path.join(".");
                if !keys.contains(&name) {
                    keys.push(name);
                }
            }
            Treatment::Refused(reason) if asks_for_something(node) => {
                self.refuse(node, path, reason);
            }
            Treatment::Refused(_) => {}
            Treatment::RefusedValues(values) => {
                let given = text(node);
                if let Some((_, reason)) = values.iter().find(|(value, _)| *value == given) {
                    self.refuse(node, path, reason);
                }
            }
        }
    }

    fn refuse(&mut self, node: &Node, path: &[&str], reason: &str) {
        let (why, instead) = match reason.split_once("; ") {
            Some((why, instead)) => (why, Some(instead)),
            None => (reason, None),
        };
        let given = match &node.value {
            Value::List(_) | Value::Map(_) => String::new(),
            _ => format!(" = {}", text(node)),
        };
        let mut mistake =
            Diagnostic::error(format!("`{}{given}` is not supported: {why}", path.join(".")));
        mistake.hint = instead.map(str::to_owned);
        self.mistakes.push(mistake.at(node.span));
    }
}

fn asks_for_something(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
    }
}

fn text(node: &Node) -> String {
    match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}
