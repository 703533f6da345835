//! Where values come from, one over the other: the command line, variables, the file.
//!
//! Each layer is a text and the tree read from it. They are checked one by one and laid over one
//! another; from then on a place is a [`Span`] in all texts together, and a mistake is shown in the
//! one it was made in.

use kiln_document::{
    Diagnostic, Entry, Key, Language, Limits, Node, Source, Span, Value, check_tree, parse_tree,
};

use super::ConfigFile;
use super::keys;

/// One source of values.
#[derive(Debug)]
pub struct Layer {
    /// The text, and what it is called.
    pub source: Source,
    /// What was read from it, a mapping.
    pub tree: Node,
    /// What is wrong with it already.
    pub mistakes: Vec<Diagnostic>,
}

/// What is wrong in which text; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n\n"))]
pub struct ConfigError(Vec<String>);

/// All layers as one.
#[derive(Debug)]
pub(super) struct Layers {
    /// Where the spans of each text begin.
    sources: Vec<(usize, Source)>,
    /// The values that count.
    pub(super) tree: Node,
    /// What is wrong with them so far; they are no [`ConfigFile`] then.
    pub(super) mistakes: Vec<Diagnostic>,
}

impl Layer {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// If it is not TOML.
    pub fn of_file(name: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let source = Source::from_bytes(name, bytes)
            .map_err(|mistake| ConfigError(vec![mistake.render(&Source::new(name, ""))]))?;
        match parse_tree(&source, Language::Toml, &Limits::default()) {
            Ok(tree) => Ok(Self { source, tree, mistakes: Vec::new() }),
            Err(mistakes) => Err(ConfigError::shown(&mistakes, &source)),
        }
    }
}

impl ConfigError {
    fn shown(mistakes: &[Diagnostic], source: &Source) -> Self {
        Self(mistakes.iter().map(|mistake| mistake.render(source)).collect())
    }
}

impl Layers {
    /// Checks the layers and lays them over one another, what counts most first.
    pub(super) fn lay(layers: Vec<Layer>) -> Self {
        let tree = Node { span: Span::default(), value: Value::Map(Vec::new()) };
        let mut all = Self { sources: Vec::new(), tree, mistakes: Vec::new() };
        let mut base = 0;
        for Layer { source, mut tree, mut mistakes } in layers {
            fold(&mut tree, &mut Vec::new());
            // To check costs some milliseconds, and there is often nothing in a layer.
            if tree.value != Value::Map(Vec::new())
                && let Err(found) = check_tree::<ConfigFile>(&tree, &source, &Limits::default())
            {
                mistakes.extend(found);
            }
            shift(&mut tree, base);
            lay_under(&mut all.tree, tree);
            all.mistakes.extend(mistakes.into_iter().map(|mistake| Diagnostic {
                span: mistake.span.map(|span| shifted(span, base)),
                ..mistake
            }));
            let length = source.text().len();
            all.sources.push((base, source));
            base += length + 1;
        }
        all
    }

    /// Shows mistakes where they were made, in the order of the layers.
    pub(super) fn error(&self, mut mistakes: Vec<Diagnostic>) -> ConfigError {
        mistakes.sort_by_key(|mistake| mistake.span);
        ConfigError(mistakes.into_iter().map(|mistake| self.screen(mistake)).collect())
    }

    /// One line for the log about a mistake that is none.
    pub(super) fn line(&self, warning: &Diagnostic) -> String {
        let (base, source) = self.source(warning.span);
        let warning = Diagnostic { span: moved(warning.span, base), ..warning.clone() };
        format!("{}: {}", warning.place(source), warning.message)
    }

    fn screen(&self, mut mistake: Diagnostic) -> String {
        let (base, source) = self.source(mistake.span);
        mistake.span = moved(mistake.span, base);
        mistake.render(source)
    }

    fn source(&self, span: Option<Span>) -> (usize, &Source) {
        let start = span.unwrap_or_default().start;
        let at = self.sources.partition_point(|(base, _)| *base <= start).saturating_sub(1);
        let (base, source) = &self.sources[at];
        (*base, source)
    }
}

fn moved(span: Option<Span>, base: usize) -> Option<Span> {
    span.map(|span| Span::new(span.start.saturating_sub(base), span.end.saturating_sub(base)))
}

/// Makes keys those that are known, whatever their case, and empty texts nothing: BuildKit reads
/// its file so.
fn fold(node: &mut Node, path: &mut Vec<&'static str>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| fold(item, path)),
        Value::Map(entries) => {
            let known: Vec<&'static str> = keys::below(path).collect();
            for at in 0..entries.len() {
                let Some(name) = known_as(&entries[at].key.name, &known, entries) else { continue };
                let entry = &mut entries[at];
                if name != "*" {
                    name.clone_into(&mut entry.key.name);
                }
                path.push(name);
                fold(&mut entry.value, path);
                path.pop();
                if name != "*" && matches!(&entry.value.value, Value::Text(text) if text.is_empty())
                {
                    entry.value.value = Value::Null;
                }
            }
        }
        _ => {}
    }
}

/// The known key that is meant by `name`.
fn known_as(name: &str, known: &[&'static str], entries: &[Entry]) -> Option<&'static str> {
    let exactly = known.iter().find(|known| **known == name || **known == "*");
    let nearly = || {
        let nearly = known.iter().find(|known| known.eq_ignore_ascii_case(name))?;
        entries.iter().all(|entry| entry.key.name != **nearly).then_some(nearly)
    };
    exactly.or_else(nearly).copied()
}

fn shifted(span: Span, by: usize) -> Span {
    Span::new(span.start + by, span.end + by)
}

/// Moves all places of a tree.
fn shift(node: &mut Node, by: usize) {
    node.span = shifted(node.span, by);
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.key.span = shifted(entry.key.span, by);
            shift(&mut entry.value, by);
        }),
        _ => {}
    }
}

/// Adds what the upper tree does not say. Tables are laid over one another key by key, everything
/// else as a whole.
fn lay_under(upper: &mut Node, lower: Node) {
    let (Value::Map(upper), Value::Map(lower)) = (&mut upper.value, lower.value) else { return };
    for entry in lower {
        match upper.iter_mut().find(|above| above.key.name == entry.key.name) {
            Some(above) => lay_under(&mut above.value, entry.value),
            None => upper.push(entry),
        }
    }
}

/// Puts a value at a path of a tree, instead of what is there.
pub(super) fn put(tree: &mut Node, path: &[&str], value: Node) {
    let Some((name, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !matches!(tree.value, Value::Map(_)) {
        tree.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut tree.value else { return };
    let at = entries.iter().position(|entry| entry.key.name == *name).unwrap_or_else(|| {
        let key = Key { name: (*name).to_owned(), span: value.span };
        entries
            .push(Entry { key, value: Node { span: value.span, value: Value::Map(Vec::new()) } });
        entries.len() - 1
    });
    put(&mut entries[at].value, rest, value);
}
