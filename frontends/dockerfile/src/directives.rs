//! The first pass: directives, the comments at the very top that change how the file is read.
//!
//! In goes the text of a Dockerfile, out come `syntax`, `escape` and `check` with their lines. Which
//! frontend reads the file is decided before anything of it is understood, so [`detect_syntax`] also
//! looks into files of other languages. What a value means is decided by its readers.

use std::borrow::Cow;

use crate::lines::Lines;

/// A directive of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectiveName {
    /// The frontend that reads the file: an image reference, and perhaps more words.
    Syntax,
    /// The escape character.
    Escape,
    /// What lint does.
    Check,
}

/// A directive at the top of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directive<'text> {
    /// Which one.
    pub name: DirectiveName,
    /// All of the value, without spaces around it.
    pub value: &'text str,
    /// Its line.
    pub lines: Lines,
}

/// The frontend a file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax<'text> {
    /// The first word: an image reference.
    pub reference: Cow<'text, str>,
    /// All of the value.
    pub command_line: Cow<'text, str>,
    /// Its line; 0 where the file is one JSON object, as the reference counts it.
    pub lines: Lines,
}

/// A directive is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only one {} parser directive can be used", .0.as_str())]
pub struct RepeatedDirective(pub DirectiveName);

impl DirectiveName {
    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }

    fn find(word: &str) -> Option<Self> {
        [Self::Syntax, Self::Escape, Self::Check]
            .into_iter()
            .find(|name| word.eq_ignore_ascii_case(name.as_str()))
    }
}

impl<'text> Directive<'text> {
    /// The value up to its first space.
    pub fn first_word(&self) -> &'text str {
        self.value.split(' ').next().unwrap_or_default()
    }
}

/// Finds one directive at the top of a file; a byte order mark and a `#!` line are passed over.
pub fn find(name: DirectiveName, text: &str) -> Option<Directive<'_>> {
    let (text, line) = body(text);
    find_after(name, text, line, "#")
}

/// Finds the frontend a file asks for: `# syntax=`, `// syntax=`, or the member `syntax` of a JSON
/// object.
pub fn detect_syntax(text: &str) -> Option<Syntax<'_>> {
    let (text, line) = body(text);
    ["#", "//"]
        .into_iter()
        .find_map(|comment| find_after(DirectiveName::Syntax, text, line, comment))
        .map(|directive| Syntax {
            reference: directive.first_word().into(),
            command_line: directive.value.into(),
            lines: directive.lines,
        })
        .or_else(|| syntax_of_json(text, line))
}

/// Reads directives line by line, until a line is none.
#[derive(Debug)]
pub(crate) struct DirectiveReader {
    comment: &'static str,
    line: u32,
    seen: Vec<DirectiveName>,
    done: bool,
}

impl DirectiveReader {
    /// A reader for the lines after `line`, whose comments begin with `comment`.
    pub(crate) fn new(comment: &'static str, line: u32) -> Self {
        Self { comment, line, seen: Vec::new(), done: false }
    }

    /// True once a line was no directive: no later line is one.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Reads the next line, which has no line end.
    pub(crate) fn read<'text>(
        &mut self,
        line: &'text str,
    ) -> Result<Option<Directive<'text>>, RepeatedDirective> {
        self.line += 1;
        if self.done {
            return Ok(None);
        }
        let found = line.strip_prefix(self.comment).and_then(name_and_value);
        let Some((name, value)) = found else {
            self.done = true;
            return Ok(None);
        };
        if self.seen.contains(&name) {
            return Err(RepeatedDirective(name));
        }
        self.seen.push(name);
        Ok(Some(Directive { name, value, lines: Lines::one(self.line) }))
    }
}

/// The text after a byte order mark and a `#!` line, and how many lines were passed over.
fn body(text: &str) -> (&str, u32) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.starts_with("#!") {
        return (text, 0);
    }
    (text.split_once('\n').map_or("", |(_, rest)| rest), 1)
}

fn find_after<'text>(
    name: DirectiveName,
    text: &'text str,
    line: u32,
    comment: &'static str,
) -> Option<Directive<'text>> {
    let mut reader = DirectiveReader::new(comment, line);
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n').unwrap_or(line);
        // A repeated directive ends the search; what came before counts.
        let directive = reader.read(line.strip_suffix('\r').unwrap_or(line)).ok()??;
        if directive.name == name {
            return Some(directive);
        }
    }
    None
}

/// Takes `name = value` apart.
fn name_and_value(comment: &str) -> Option<(DirectiveName, &str)> {
    let space = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ');
    let (name, value) = comment.trim_start().split_once('=')?;
    let name = DirectiveName::find(name.trim_end_matches(space))?;
    match value.trim_matches(space) {
        // A value of nothing but spaces is its last space to the reference.
        "" => Some((name, &value[value.len().checked_sub(1)?..])),
        value => Some((name, value)),
    }
}

fn syntax_of_json(text: &str, line: u32) -> Option<Syntax<'_>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let value = object.get(DirectiveName::Syntax.as_str())?.as_str()?.to_owned();
    let lines = Lines::one(line);
    Some(Syntax { reference: value.clone().into(), command_line: value.into(), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_counts_only_before_anything_else() {
        let value = |text| find(DirectiveName::Check, text).map(|found| found.value);
        assert_eq!(value("#!x\n# Check =  skip=all \r\nFROM a"), Some("skip=all"));
        assert_eq!(value("# syntax=a\n#check=b"), Some("b"));
        assert_eq!(value("# hello\n# check=b"), None);
        assert_eq!(value("# syntax=a\n# syntax=b\n# check=c"), None);
        assert_eq!(value("# check= \n"), Some(" "));
    }

    #[test]
    fn a_file_of_another_language_can_name_its_frontend() {
        let reference = |text| detect_syntax(text).map(|syntax| syntax.reference.into_owned());
        assert_eq!(reference("// syntax=a b\nfunc"), Some("a".into()));
        assert_eq!(reference("#!/bin/x\n{\"syntax\": \"a:1\"}"), Some("a:1".into()));
        assert_eq!(reference("{\"syntax\": \"a:1\""), None);
        assert_eq!(reference("-- syntax=a"), None);
    }
}
