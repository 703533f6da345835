//! Every mistake of a Dockerfile's text in one pass, for editors and for people.
//!
//! A build stops at the first mistake, as the reference does. Here reading goes on after each, so
//! that all of them can be corrected at once. Words that hold variables are not judged, and neither
//! is what needs the daemon: base images, contexts, other stages of other files.

use std::collections::BTreeSet;

use kiln_sdk::document::{Diagnostic, Source, Span};

use crate::ast::{self, Ast};
use crate::directives::{DirectiveName, find};
use crate::instruction::{Command, Run, Statement};
use crate::lines::Lines;
use crate::lint::{LintConfig, Linter};
use crate::mistake::Mistake;
use crate::values::{FileMode, parse_signal};

/// Every mistake that the text alone shows, in the order of the file.
///
/// The messages are those of a build, so the first one with a place is what a build of this text
/// says, unless it stops earlier for another reason.
pub fn mistakes(text: &str) -> Vec<Mistake> {
    let ast = ast::parse(text);
    let mut found = check_directive(text);
    found.extend(ast.mistakes.iter().cloned());
    let stages = statements(&ast, &mut found);
    if stages == 0 && found.is_empty() {
        found.push(Mistake::new("dockerfile contains no stages to build"));
    }
    let mut seen = BTreeSet::new();
    found.retain(|mistake| seen.insert((first_line(mistake), mistake.message.clone())));
    found.sort_by_key(first_line);
    found
}

/// The same as diagnostics, with the word that is meant under carets where it can be found.
pub fn diagnose(source: &Source) -> Vec<Diagnostic> {
    mistakes(source.text()).iter().map(|mistake| diagnostic(mistake, source)).collect()
}

fn first_line(mistake: &Mistake) -> u32 {
    mistake.places.first().map_or(0, |lines| lines.first)
}

fn check_directive(text: &str) -> Vec<Mistake> {
    let Some(directive) = find(DirectiveName::Check, text) else { return Vec::new() };
    let wrong = LintConfig::parse(directive.first_word()).err();
    let told = wrong.map(|mistake| mistake.context("failed to parse check options"));
    told.map(|mistake| mistake.at(directive.lines)).into_iter().collect()
}

/// Reads every instruction; counts the stages.
fn statements(ast: &Ast<'_>, found: &mut Vec<Mistake>) -> usize {
    let mut stages = 0;
    for node in &ast.instructions {
        match Statement::read(node, &mut Linter::silent()) {
            Err(mistake) => {
                // A stage of which the line is wrong is a stage all the same.
                stages += usize::from(node.keyword == Some(crate::keyword::Keyword::From));
                let line = node.lines.first;
                found.push(mistake.context(format_args!("dockerfile parse error on line {line}")));
            }
            Ok(Statement::From(_)) => stages += 1,
            Ok(Statement::Instruction(instruction)) => {
                let outside = stages == 0 && !matches!(instruction.command, Command::Arg(_));
                let early = outside.then(|| Mistake::new("no build stage in current context"));
                let wrong = early.into_iter().chain(constants(&instruction.command));
                found.extend(wrong.map(|mistake| mistake.at(instruction.lines)));
            }
        }
    }
    stages
}

/// What is wrong with words that hold no variables, though only the lowering looks at them.
fn constants(command: &Command) -> Vec<Mistake> {
    let mode = |text: &str| match text.is_empty() || text.contains('$') {
        true => None,
        false => FileMode::parse(text).err().map(Mistake::new),
    };
    match command {
        Command::Add(add) => mode(&add.chmod).into_iter().collect(),
        Command::Copy(copy) => {
            let from = copy.from.contains('$').then(|| {
                Mistake::new("variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround")
            });
            mode(&copy.chmod).into_iter().chain(from).collect()
        }
        Command::Run(run) => mounts(run),
        Command::StopSignal(signal) if !signal.contains(['$', '"', '\'', '\\']) => {
            parse_signal(signal).err().map(Mistake::new).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn mounts(run: &Run) -> Vec<Mistake> {
    let constant = run.mounts.iter().filter(|mount| !mount.text.contains(['$', '\'', '\\']));
    constant.filter_map(|mount| mount.read(&mut |word| Ok(word.to_owned())).err()).collect()
}

fn diagnostic(mistake: &Mistake, source: &Source) -> Diagnostic {
    let diagnostic = Diagnostic::error(&mistake.message);
    let Some(lines) = mistake.places.first() else { return diagnostic };
    let Some(span) = span(*lines, source) else { return diagnostic };
    let text = source.slice(span);
    let Some(word) = words(&mistake.message).into_iter().find_map(|word| find_word(text, word))
    else {
        let end = text.find('\n').unwrap_or(text.len());
        return diagnostic.at(Span::new(span.start, span.start + end));
    };
    diagnostic.at(Span::new(span.start + word.0, span.start + word.1))
}

/// The bytes of lines; none if the file has no such lines.
fn span(lines: Lines, source: &Source) -> Option<Span> {
    let number = |line: u32| usize::try_from(line).ok();
    let (first, last) = (number(lines.first)?, number(lines.last)?);
    if first == 0 || last < first || last > source.line_count() {
        return None;
    }
    let at = |line| source.offset(kiln_sdk::document::Position { line, character: 1 });
    let end = if last == source.line_count() { source.text().len() } else { at(last + 1) };
    Some(Span::new(at(first), end))
}

/// What a message may be about, the likeliest first: what it quotes, what follows its last colon,
/// and the name of the instruction it begins with.
fn words(message: &str) -> Vec<&str> {
    let message = message.split(" (did you mean ").next().unwrap_or(message);
    let mut words: Vec<&str> = Vec::new();
    for quote in ['"', '\'', '`'] {
        words.extend(message.split(quote).skip(1).step_by(2));
    }
    let last = message.rsplit(": ").next().unwrap_or(message);
    words.push(last);
    words.extend(last.split(' ').find(|word| word.chars().all(|c| c.is_ascii_uppercase())));
    words.retain(|word| !word.trim().is_empty());
    words
}

/// Where a word stands by itself in a text.
fn find_word(text: &str, word: &str) -> Option<(usize, usize)> {
    let apart = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).map(|(at, word)| (at, at + word.len())).find(|(start, end)| {
        apart(text[..*start].chars().next_back()) && apart(text[*end..].chars().next())
    })
}
