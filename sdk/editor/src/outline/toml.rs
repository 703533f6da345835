//! Where in a TOML document a byte is: tables by their headers, the rest by equals signs and brackets.

use kiln_document::{Source, Span};

use super::{Place, Step, flow, word};

/// Where a byte of a TOML document is.
pub(crate) fn toml(source: &Source, offset: usize) -> Place {
    let mut tables = Tables::default();
    // Each statement is looked through once, however many lines it has.
    let mut statement = source.slice(Span::new(0, offset));
    while let Some(end) = end(statement) {
        tables.enter(&statement[..end]);
        statement = &statement[end..];
    }
    let statement = statement.trim_start();
    if is_header(statement) {
        let above = keys(statement.trim_start_matches('[')).0;
        return Place { path: tables.path(&above), is_key: true, word: key(source, offset) };
    }
    let (mut above, last, value) = keys(statement);
    let mut path = tables.here.clone();
    let Some(value) = value else {
        path.extend(above.into_iter().map(Step::Key));
        return Place { path, is_key: true, word: key(source, offset) };
    };
    above.push(last);
    path.extend(above.into_iter().map(Step::Key));
    flow(&scan(value).0, path, word(source, offset), '=')
}

/// The tables that headers have opened.
#[derive(Default)]
struct Tables {
    here: Vec<Step>,
    /// Those of which there are several.
    lists: Vec<Vec<String>>,
}

impl Tables {
    /// Goes on to the table that a statement opens, if it does.
    fn enter(&mut self, statement: &str) {
        if !is_header(statement) {
            return;
        }
        let text = statement.trim_start();
        let is_list = text.starts_with("[[");
        let (mut names, last, _) = keys(text.trim_start_matches('['));
        names.push(last);
        if is_list && !self.lists.contains(&names) {
            self.lists.push(names.clone());
        }
        self.here = self.path(&names);
    }

    /// The way to a table; headers do not say which item of a list they go into, it is the last.
    fn path(&self, names: &[String]) -> Vec<Step> {
        let mut path = Vec::new();
        for (at, name) in names.iter().enumerate() {
            path.push(Step::Key(name.clone()));
            if self.lists.iter().any(|list| *list == names[..=at]) {
                path.push(Step::Item);
            }
        }
        path
    }
}

fn is_header(statement: &str) -> bool {
    statement.trim_start().starts_with('[')
}

/// The keys with dots that a statement begins with, the last of them, and what follows its equals sign.
fn keys(statement: &str) -> (Vec<String>, String, Option<&str>) {
    let (mut above, mut last, mut quote) = (Vec::new(), String::new(), None);
    for (at, c) in statement.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => last.push(c),
            ('"' | '\'', None) => quote = Some(c),
            ('.', None) => above.push(std::mem::take(&mut last)),
            ('=', None) => return (above, last, Some(&statement[at + 1..])),
            (']' | '#' | '\n', None) => break,
            (c, None) if c.is_whitespace() => {}
            (c, None) => last.push(c),
        }
    }
    (above, last, None)
}

/// Where a statement ends that a text begins with, its line end included; `None` if it goes on.
fn end(text: &str) -> Option<usize> {
    let line = text.find('\n')? + 1;
    if is_header(&text[..line]) { Some(line) } else { scan(text).1 }
}

/// A statement without comments, and where it ends: with the first line that leaves no bracket and no text over
/// several lines open.
fn scan(statement: &str) -> (String, Option<usize>) {
    let (mut rest, mut depth, mut found) = (statement, 0_usize, String::new());
    while let Some(c) = rest.chars().next() {
        if c == '\n' && depth == 0 {
            return (found, Some(statement.len() - rest.len() + 1));
        }
        let long = ["\"\"\"", "'''"].into_iter().find(|long| rest.starts_with(long));
        let length = match (c, long) {
            (_, Some(long)) => match rest[3..].find(long) {
                Some(end) => end + 6,
                None => return (found + rest, None),
            },
            ('"' | '\'', None) => text(rest, c),
            ('#', None) => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            (c, None) => c.len_utf8(),
        };
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        found.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    (found, None)
}

/// How long the text is that begins with a quote; it ends with its line at the latest.
fn text(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The key around a byte: dots stand between keys.
fn key(source: &Source, offset: usize) -> Span {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let before = source.slice(Span::new(0, offset));
    let after = &source.text()[offset..];
    let end = offset + (after.len() - after.trim_start_matches(is_part).len());
    Span::new(before.trim_end_matches(is_part).len(), end)
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn headers_tell_which_table_a_key_is_in() {
        assert_eq!(at("na|", toml), " key \"na\"");
        assert_eq!(at("[a]\nb|", toml), ".a key \"b\"");
        assert_eq!(at("[a.\"b.c\"]\nd = 1\n\ne|", toml), ".a.b.c key \"e\"");
        assert_eq!(at("[[images]]\nname = 'x'\nfr|om = 1", toml), ".images[] key \"from\"");
        assert_eq!(at("[[images]]\n[images.package]\nin|", toml), ".images[].package key \"in\"");
        assert_eq!(at("[a]\n[im|ages]", toml), " key \"images\"");
        assert_eq!(at("[[images]]\n[images.pa|", toml), ".images[] key \"pa\"");
        assert_eq!(at("a.b.c|", toml), ".a.b key \"c\"");
    }

    #[test]
    fn after_an_equals_sign_is_a_value_however_many_lines_it_has() {
        assert_eq!(at("[a]\nb = tr|", toml), ".a.b value \"tr\"");
        assert_eq!(at("a.b = \"x|\"", toml), ".a.b value \"x\"");
        assert_eq!(at("a = [\n  \"x\", # of ]\n  \"y|\",\n]", toml), ".a[] value \"y\"");
        assert_eq!(at("a = { b = 1, c| }", toml), ".a key \"c\"");
        assert_eq!(at("a = { b = \"x|\" }", toml), ".a.b value \"x\"");
        assert_eq!(at("a = [\n 1,\n]\nb|", toml), " key \"b\"");
        assert_eq!(at("a = \"\"\"\n[not]\n\"\"\"\nb|", toml), " key \"b\"");
        assert_eq!(at("a = \"\"\"\n[not]\nx|", toml), ".a value \"x\"");
        assert_eq!(at("a = 'it\nb|", toml), " key \"b\"");
    }
}
