//! Where in a document a byte is, although the text around it may be unfinished.
//!
//! A parser gives up where somebody is typing; here lines and brackets are enough. What is found may
//! be wrong in texts that nobody writes, and then nothing of the schema is there.

mod toml;

use kiln_document::{Position, Source, Span};

pub(crate) use toml::toml;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an item of a list.
    Item,
}

/// Where a byte is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The way to the mapping of which the word is a key, or to the value that it is.
    pub(crate) path: Vec<Step>,
    /// Whether the word is a key.
    pub(crate) is_key: bool,
    /// The word around the byte; empty between words.
    pub(crate) word: Span,
}

/// Where a byte of a YAML document is.
pub(crate) fn yaml(source: &Source, offset: usize) -> Place {
    let Position { line: current, .. } = source.position(offset);
    let mut stack: Vec<(usize, Step)> = Vec::new();
    for line in 1..current {
        enter(source.slice(source.line(line)), &mut stack);
    }
    let before = source.slice(Span::new(source.line(current).start, offset));
    let word = word(source, offset);
    let (indent, rest) = dashes(before, &mut stack);
    match key_of(rest) {
        Some((key, value)) => {
            leave(&mut stack, indent);
            stack.push((indent, Step::Key(key.to_owned())));
            flow(value, steps(stack), word, ':')
        }
        None if rest.starts_with(['{', '[']) => flow(rest, steps(stack), word, ':'),
        None => {
            leave(&mut stack, indent);
            Place { path: steps(stack), is_key: true, word }
        }
    }
}

/// Where a byte of a JSON document is.
pub(crate) fn json(source: &Source, offset: usize) -> Place {
    let before = source.slice(Span::new(0, offset));
    flow(before, Vec::new(), word(source, offset), ':')
}

fn steps(stack: Vec<(usize, Step)>) -> Vec<Step> {
    stack.into_iter().map(|(_, step)| step).collect()
}

/// Goes into what a line begins.
fn enter(line: &str, stack: &mut Vec<(usize, Step)>) {
    let text = line.trim();
    if text.is_empty() || text.starts_with('#') {
        return;
    }
    let (indent, rest) = dashes(line, stack);
    if let Some((key, _)) = key_of(rest) {
        leave(stack, indent);
        stack.push((indent, Step::Key(key.to_owned())));
    }
}

/// Leaves what is not above a key that is indented by so much.
fn leave(stack: &mut Vec<(usize, Step)>, indent: usize) {
    while stack.last().is_some_and(|(at, _)| *at >= indent) {
        stack.pop();
    }
}

/// Goes into the items that a line begins with; gives where the rest begins, and the rest.
fn dashes<'a>(line: &'a str, stack: &mut Vec<(usize, Step)>) -> (usize, &'a str) {
    let mut rest = line.trim_start();
    let mut indent = line.len() - rest.len();
    while rest == "-" || rest.starts_with("- ") {
        // The items of a key may be as far to the left as the key is.
        let is_inside =
            |(at, step): &(usize, Step)| *at > indent || (*at == indent && *step == Step::Item);
        while stack.last().is_some_and(is_inside) {
            stack.pop();
        }
        stack.push((indent, Step::Item));
        let after = rest[1..].trim_start();
        indent += rest.len() - after.len();
        rest = after;
    }
    (indent, rest)
}

/// A key and what follows its colon.
fn key_of(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['{', '[', '#']) {
        return None;
    }
    let ends = |at: &usize| text[at + 1..].chars().next().is_none_or(char::is_whitespace);
    let at = text.match_indices(':').map(|(at, _)| at).find(ends)?;
    let key = text[..at].trim();
    let plain = key.trim_matches(['"', '\'']);
    Some((plain, &text[at + 1..]))
}

/// An open bracket: of a mapping with the key that stands before the byte, or of a list.
enum Frame {
    Map(Option<String>),
    List,
}

/// Where the end of a text with brackets is, of which the beginning is at `path`; `colon` is what stands
/// between a key and its value.
fn flow(text: &str, mut path: Vec<Step>, word: Span, colon: char) -> Place {
    let mut frames: Vec<Frame> = Vec::new();
    let (mut token, mut quote, mut escaped) = (String::new(), None, false);
    for c in text.chars() {
        match (c, quote) {
            (_, Some(_)) if escaped => escaped = false,
            ('\\', Some('"')) => escaped = true,
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => token.push(c),
            ('"' | '\'', None) if token.trim().is_empty() => {
                token.clear();
                quote = Some(c);
            }
            ('{', None) => frames.push(Frame::Map(None)),
            ('[', None) => frames.push(Frame::List),
            ('}' | ']', None) => {
                frames.pop();
            }
            (',', None) => {
                if let Some(Frame::Map(key)) = frames.last_mut() {
                    *key = None;
                }
            }
            (c, None) if c == colon => {
                if let Some(Frame::Map(key @ None)) = frames.last_mut() {
                    *key = Some(token.trim().to_owned());
                }
            }
            (c, None) => {
                token.push(c);
                continue;
            }
        }
        if quote.is_none() && (matches!(c, '{' | '[' | '}' | ']' | ',') || c == colon) {
            token.clear();
        }
    }
    let is_key = matches!(frames.last(), Some(Frame::Map(None)));
    path.extend(frames.into_iter().filter_map(|frame| match frame {
        Frame::Map(key) => key.map(Step::Key),
        Frame::List => Some(Step::Item),
    }));
    Place { path, is_key, word }
}

/// The word around a byte.
fn word(source: &Source, offset: usize) -> Span {
    let text = source.text();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '/');
    let before = source.slice(Span::new(0, offset));
    let start = before.trim_end_matches(is_part).len();
    let after = &text[before.len()..];
    let end = before.len() + (after.len() - after.trim_start_matches(is_part).len());
    let dash = source.slice(Span::new(start, end)) == "-";
    // The dash of an item is no word.
    if dash { Span::new(before.len(), before.len()) } else { Span::new(start, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where `|` is, as a path.
    pub(super) fn at(text: &str, of: fn(&Source, usize) -> Place) -> String {
        let at = text.find('|').unwrap();
        let source = Source::new("f", text.replacen('|', "", 1));
        let place = of(&source, at);
        let steps = place.path.iter().map(|step| match step {
            Step::Key(key) => format!(".{key}"),
            Step::Item => "[]".to_owned(),
        });
        let kind = if place.is_key { "key" } else { "value" };
        format!("{} {kind} {:?}", steps.collect::<String>(), source.slice(place.word))
    }

    #[test]
    fn indentation_and_dashes_tell_where_a_key_is() {
        assert_eq!(at("na|", yaml), " key \"na\"");
        assert_eq!(at("a:\n  b|", yaml), ".a key \"b\"");
        assert_eq!(at("a:\n  b: 1\nc|", yaml), " key \"c\"");
        assert_eq!(at("images:\n- name: x\n  fr|om", yaml), ".images[] key \"from\"");
        assert_eq!(at("images:\n- name: x\n- fr|", yaml), ".images[] key \"fr\"");
        assert_eq!(
            at("images:\n  - name: x\n    package:\n      |\n", yaml),
            ".images[].package key \"\""
        );
        assert_eq!(at("images:\n- |", yaml), ".images[] key \"\"");
        assert_eq!(at("a:\n  b:\n# note\n\n  c|", yaml), ".a key \"c\"");
    }

    #[test]
    fn after_a_colon_is_a_value_and_in_brackets_whatever_they_hold() {
        assert_eq!(at("a:\n  b: tr|", yaml), ".a.b value \"tr\"");
        assert_eq!(at("a: {b: 1, c|", yaml), ".a key \"c\"");
        assert_eq!(at("paths:\n- {type: dir|, path: /a}", yaml), ".paths[].type value \"dir\"");
        assert_eq!(at("a: [x, y|]", yaml), ".a[] value \"y\"");
        assert_eq!(at("a: http://x|", yaml), ".a value \"http\"".replace("http", "//x").as_str());
    }

    #[test]
    fn brackets_tell_where_in_json() {
        assert_eq!(at(r#"{"a": [{"b": 1}, {"c|"#, json), ".a[] key \"c\"");
        assert_eq!(at(r#"{"a": {"b": "x|"}}"#, json), ".a.b value \"x\"");
        assert_eq!(at(r#"{"a": "{\"", "b|": 1}"#, json), " key \"b\"");
        assert_eq!(at("|", json), " value \"\"");
    }
}
