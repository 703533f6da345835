//! What puts a violation of a rule right without anybody's judgement.
//!
//! A rule and a line come in, edits of the text go out. No edit changes what a build does, but those
//! that are the point of their rule: a label in the place of `MAINTAINER`, and a command that is run
//! without a shell. Where the text is not as plain as that, there is no fix.

use std::collections::BTreeMap;

use kiln_sdk::document::{Edit, Fix, Position, Source, Span};

use super::checks::upper_case_is_usual;
use super::text::readable;
use crate::ast::{self, Arguments, Ast, Instruction};
use crate::keyword::Keyword;
use crate::lint::Linter;

/// Commands of a shell that are no programs, or mean something else as one.
const BUILTINS: &[&str] = &[
    ".", ":", "alias", "bg", "break", "cd", "command", "continue", "eval", "exec", "exit",
    "export", "fg", "hash", "jobs", "local", "read", "readonly", "return", "set", "shift",
    "source", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "wait", "if", "for",
    "while", "until", "case", "time",
];

/// A fix for each violation, given as the rule's name and the first line that is told.
pub fn fixes(source: &Source, violationes: &[(&str, usize)]) -> Vec<Option<Fix>> {
    let ast = ast::parse(source.text());
    let first = |one: &Instruction<'_>| usize::try_from(one.lines.first).unwrap_or(usize::MAX);
    let by_line = ast.instructions.iter().map(|one| (first(one), one)).collect();
    let upper = upper_case_is_usual(&readable(&ast, &mut Linter::silent()));
    let fixer = Fixer { source, ast: &ast, by_line, upper };
    violationes.iter().map(|(rule, line)| fixer.fix(rule, *line)).collect()
}

struct Fixer<'a> {
    source: &'a Source,
    ast: &'a Ast<'a>,
    by_line: BTreeMap<usize, &'a Instruction<'a>>,
    /// Instructions are to be written in upper case.
    upper: bool,
}

impl Fixer<'_> {
    fn fix(&self, rule: &str, line: usize) -> Option<Fix> {
        let at = || self.by_line.get(&line).copied();
        match rule {
            "NoEmptyContinuation" => self.empty_lines(line),
            "ConsistentInstructionCasing" => self.casing(at()?),
            "StageNameCasing" => {
                let [.., (_, name)] = self.words(at()?)?[..] else { return None };
                self.replaced("write the name in lower case", name, |word| word.to_lowercase())
            }
            "FromAsCasing" => {
                let one = at()?;
                let [.., (_, keyword), _] = self.words(one)?[..] else { return None };
                let lower = one.name == one.name.to_lowercase();
                self.replaced("write `AS` as `FROM`", keyword, |word| match lower {
                    true => word.to_lowercase(),
                    false => word.to_uppercase(),
                })
            }
            "MaintainerDeprecated" => self.maintainer(at()?),
            "LegacyKeyValueFormat" => self.legacy(at()?),
            "JSONArgsRecommended" => self.json(at()?),
            "ExposeProtoCasing" => self.protocols(at()?),
            "RedundantTargetPlatform" => self.platform(at()?),
            _ => None,
        }
    }

    fn replaced(&self, title: &str, span: Span, new: impl Fn(&str) -> String) -> Option<Fix> {
        let old = self.source.slice(span);
        let text = new(old);
        (text != old).then(|| Fix::new(title, span, text))
    }

    /// A line without spaces around it.
    fn line(&self, line: usize) -> Span {
        self.source.trimmed(self.source.line(line))
    }

    /// The text of an instruction that stands on one line, and of which nothing else is there.
    fn text(&self, one: &Instruction<'_>) -> Option<Span> {
        let span = self.line(usize::try_from(one.lines.first).ok()?);
        let whole =
            one.lines.first == one.lines.last && self.source.slice(span) == one.original.trim();
        whole.then_some(span)
    }

    /// The words of such an instruction, the keyword among them, each with its place.
    fn words(&self, one: &Instruction<'_>) -> Option<Vec<(String, Span)>> {
        let span = self.text(one)?;
        let text = self.source.slice(span);
        let words = text.split_ascii_whitespace().map(|word| {
            // The words are slices of the text.
            let at = span.start + (word.as_ptr() as usize - text.as_ptr() as usize);
            (word.to_owned(), Span::new(at, at + word.len()))
        });
        Some(words.collect())
    }

    /// The place of the arguments of such an instruction without flags.
    fn arguments(&self, one: &Instruction<'_>) -> Option<Span> {
        let span = self.text(one)?;
        let rest = self.source.slice(span).strip_prefix(&*one.name)?.trim_start();
        (one.flags.is_empty() && !rest.is_empty())
            .then(|| Span::new(span.end - rest.len(), span.end))
    }

    fn cased(&self, word: &str) -> String {
        if self.upper { word.to_uppercase() } else { word.to_lowercase() }
    }

    fn casing(&self, one: &Instruction<'_>) -> Option<Fix> {
        let span = self.line(usize::try_from(one.lines.first).ok()?);
        let span = Span::new(span.start, span.start + one.name.len());
        // A keyword may be continued on the next line, but is not by people.
        let whole = self.source.slice(span) == one.name;
        whole.then(|| {
            self.replaced(&format!("write `{}`", self.cased(&one.name)), span, |word| {
                self.cased(word)
            })
        })?
    }

    fn maintainer(&self, one: &Instruction<'_>) -> Option<Fix> {
        let (Some(Keyword::Maintainer), Arguments::Text(author)) = (one.keyword, &one.arguments)
        else {
            return None;
        };
        let span = self.text(one)?;
        let author = self.in_quotes(author, true)?;
        let keyword = if one.name == one.name.to_lowercase() { "label" } else { "LABEL" };
        let label = format!("{keyword} org.opencontainers.image.authors={author}");
        Some(Fix::new("write a label instead", span, label))
    }

    fn legacy(&self, one: &Instruction<'_>) -> Option<Fix> {
        let Arguments::Pairs(pairs) = &one.arguments else { return None };
        let [pair] = &pairs[..] else { return None };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !pair.legacy || !pair.name.chars().all(plain) {
            return None;
        }
        let span = self.arguments(one)?;
        let rest = self.source.slice(span).strip_prefix(&*pair.name)?;
        let value = rest.trim_start();
        if value != pair.value {
            return None;
        }
        let marks = ['"', '\'', self.ast.escape];
        let new = match (value.contains(char::is_whitespace), value.contains(marks)) {
            (false, false) => value.to_owned(),
            (true, false) => self.in_quotes(value, false)?,
            (_, true) => self.spaces_escaped(value)?,
        };
        let between = Span::new(span.start + pair.name.len(), span.end);
        Some(Fix::new("put an equals sign between name and value", between, format!("={new}")))
    }

    /// A text in double quotes; dollar signs stand for variables there unless they are escaped, too.
    fn in_quotes(&self, text: &str, escape_dollars: bool) -> Option<String> {
        let mut quoted = String::from('"');
        for c in text.chars() {
            if c == '"' || c == self.ast.escape || (c == '$' && escape_dollars) {
                quoted.push(self.ast.escape);
            }
            // What ends a line, or the text, is not to be guessed at.
            if c.is_control() && c != '\t' {
                return None;
            }
            quoted.push(c);
        }
        quoted.push('"');
        Some(quoted)
    }

    /// A value as one word: outside of quotes, spaces are escaped.
    fn spaces_escaped(&self, value: &str) -> Option<String> {
        let (mut word, mut quote, mut escaped) = (String::new(), None, false);
        for c in value.chars() {
            match quote {
                _ if escaped => escaped = false,
                quote if c == self.ast.escape && quote != Some('\'') => escaped = true,
                Some(open) => quote = quote.filter(|_| c != open),
                None if matches!(c, '"' | '\'') => quote = Some(c),
                None if c.is_whitespace() => word.push(self.ast.escape),
                None => {}
            }
            word.push(c);
        }
        (quote.is_none() && !escaped).then_some(word)
    }

    fn json(&self, one: &Instruction<'_>) -> Option<Fix> {
        let is_command = matches!(one.keyword, Some(Keyword::Cmd | Keyword::Entrypoint));
        if !is_command || !matches!(one.arguments, Arguments::Text(_)) {
            return None;
        }
        let span = self.arguments(one)?;
        let words: Vec<&str> = self.source.slice(span).split_ascii_whitespace().collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
        let first = words.first()?;
        // Whoever sets a variable in front of a command speaks to a shell.
        let needs_shell = first.contains('=') || BUILTINS.contains(first);
        if needs_shell || !words.iter().all(|word| word.chars().all(plain)) {
            return None;
        }
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        Some(Fix::new(
            "write a JSON list, without a shell",
            span,
            format!("[{}]", words.join(", ")),
        ))
    }

    fn protocols(&self, one: &Instruction<'_>) -> Option<Fix> {
        let words = self.words(one)?;
        let edits = words.iter().skip(1).filter_map(|(word, span)| {
            let (port, protocol) = word.split_once('/')?;
            let text = format!("{port}/{}", protocol.to_lowercase());
            (!word.contains('$') && text != *word).then_some(Edit { span: *span, text })
        });
        let edits: Vec<Edit> = edits.collect();
        let title = "write protocols in lower case".to_owned();
        (one.keyword == Some(Keyword::Expose) && !edits.is_empty()).then_some(Fix { title, edits })
    }

    fn platform(&self, one: &Instruction<'_>) -> Option<Fix> {
        let words = self.words(one)?;
        let [_, (flag, span), (_, next), ..] = &words[..] else { return None };
        let is_it =
            matches!(flag.as_str(), "--platform=$TARGETPLATFORM" | "--platform=${TARGETPLATFORM}");
        let span = Span::new(span.start, next.start);
        is_it.then(|| Fix::new("leave the platform out", span, ""))
    }

    /// Removes the empty lines of the instruction that a line ends.
    fn empty_lines(&self, line: usize) -> Option<Fix> {
        let (first, _) = self.by_line.range(..=line).next_back()?;
        let start = |line| self.source.offset(Position { line, character: 1 });
        let empty = (*first..line).filter(|line| self.line(*line).is_empty());
        let edits = empty.map(|line| Edit {
            span: Span::new(start(line), start(line + 1)),
            text: String::new(),
        });
        let edits: Vec<Edit> = edits.collect();
        let title = "remove the empty lines".to_owned();
        (!edits.is_empty()).then_some(Fix { title, edits })
    }
}
