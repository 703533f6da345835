//! A file line by line: continued lines are joined, comments and bodies of here-documents set apart.

use std::borrow::Cow;

use super::command::{self, Command};
use super::{Ast, EmptyContinuation, Instruction};
use crate::directives::{Directive, DirectiveName, DirectiveReader};
use crate::heredoc::{self, Heredoc};
use crate::lines::Lines;
use crate::mistake::Mistake;

/// The longest line the language allows, in bytes, without its line end.
pub const LONGEST_LINE: usize = 65535;

/// Reads the text of a Dockerfile.
///
/// Never fails as a whole: what could not be read is in [`Ast::mistakes`]. Lines are borrowed from the
/// text unless they had to be joined.
pub fn parse(text: &str) -> Ast<'_> {
    let mut parser = Parser {
        reader: Reader { rest: text, number: 0, too_long: false },
        directives: DirectiveReader::new("#", 0),
        comments: Vec::new(),
        ast: Ast {
            escape: '\\',
            instructions: Vec::new(),
            warnings: Vec::new(),
            mistakes: Vec::new(),
        },
    };
    parser.run();
    parser.ast
}

/// Gives the lines of a text, with their line ends, and counts them.
struct Reader<'text> {
    rest: &'text str,
    /// The number of the line given last.
    number: u32,
    /// The next line is longer than the language allows; nothing is given from then on.
    too_long: bool,
}

impl<'text> Iterator for Reader<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        if self.rest.is_empty() || self.too_long {
            return None;
        }
        let end = self.rest.find('\n');
        if end.unwrap_or(self.rest.len()) > LONGEST_LINE {
            self.too_long = true;
            return None;
        }
        let (line, rest) = self.rest.split_at(end.map_or(self.rest.len(), |at| at + 1));
        self.rest = rest;
        self.number = self.number.saturating_add(1);
        Some(line)
    }
}

struct Parser<'text> {
    reader: Reader<'text>,
    directives: DirectiveReader,
    /// The comments since the last instruction.
    comments: Vec<Cow<'text, str>>,
    ast: Ast<'text>,
}

/// The lines of one instruction, joined.
struct Joined<'text> {
    line: Cow<'text, str>,
    /// Empty lines were between them.
    gaps: bool,
}

impl<'text> Parser<'text> {
    fn run(&mut self) {
        let mut read_any = false;
        while let Some(line) = self.reader.next() {
            let line = match self.reader.number {
                1 => line.strip_prefix('\u{feff}').unwrap_or(line),
                _ => line,
            };
            let line = without_line_end(line);
            if is_comment(line) {
                self.comment(line);
                continue;
            }
            let line = line.trim_start();
            if !self.directives.is_done() {
                // No directive, which ends them.
                let _ = self.directives.read(line);
            }
            if !line.is_empty() {
                read_any = true;
                self.instruction(line);
            }
        }
        self.end(read_any);
    }

    /// Keeps a comment for the instruction below it, unless it is a directive.
    fn comment(&mut self, line: &'text str) {
        if !self.directives.is_done() {
            match self.directives.read(line.trim_start()) {
                Ok(Some(directive)) => return self.directive(directive),
                Ok(None) => {}
                Err(error) => return self.misread_directive(error.to_string()),
            }
        }
        // The reference drops one byte, which is not the `#` if spaces are in front.
        let text: Cow<'_, str> = match command::piece(line, 1, line.len()) {
            Cow::Borrowed(text) => text.trim().into(),
            Cow::Owned(text) => text.trim().to_owned().into(),
        };
        if text.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(text);
        }
    }

    fn directive(&mut self, directive: Directive<'text>) {
        match (directive.name, directive.value) {
            (DirectiveName::Escape, "\\") => self.ast.escape = '\\',
            (DirectiveName::Escape, "`") => self.ast.escape = '`',
            (DirectiveName::Escape, other) => self.misread_directive(format!(
                "invalid escape token '{other}' does not match ` or \\"
            )),
            _ => {}
        }
    }

    /// The place of a directive is the line above it, as the reference has it.
    fn misread_directive(&mut self, message: String) {
        let place = Lines::one(self.reader.number - 1);
        self.ast.mistakes.push(Mistake::new(message).at(place));
    }

    /// Reads an instruction of which the first line is given.
    fn instruction(&mut self, first: &'text str) {
        let start = self.reader.number;
        let Joined { line, gaps } = self.join(first);
        let lines = Lines::new(start, self.reader.number);
        if gaps {
            let joined = line.clone().into_owned();
            self.ast.warnings.push(EmptyContinuation { joined, line: lines.last });
        }
        let command = match &line {
            Cow::Borrowed(line) => command::read(line, self.ast.escape, lines),
            Cow::Owned(line) => {
                command::read(line, self.ast.escape, lines).map(Command::into_owned)
            }
        };
        let comments = std::mem::take(&mut self.comments);
        let read = command.and_then(|command| {
            let mut instruction = command.into_instruction(line, lines, comments);
            if instruction.may_have_heredocs() && instruction.original.contains("<<") {
                instruction.heredocs = self.heredocs(&instruction.original)?;
                instruction.lines = Lines::new(start, self.reader.number);
            }
            Ok(instruction)
        });
        match read {
            Ok(instruction) => self.ast.instructions.push(instruction),
            Err(mistake) => {
                let place = Lines::new(start, self.reader.number);
                self.ast.mistakes.push(mistake.at(place));
            }
        }
    }

    /// Joins a line with those that continue it.
    fn join(&mut self, first: &'text str) -> Joined<'text> {
        let Some(first) = continued(first, self.ast.escape) else {
            return Joined { line: first.into(), gaps: false };
        };
        let mut line = String::with_capacity(2 * first.len() + 64);
        line.push_str(first);
        let mut gaps = false;
        for next in self.reader.by_ref() {
            let next = without_line_end(next);
            if is_comment(next) {
                continue;
            }
            if next.trim_start().is_empty() {
                gaps = true;
                continue;
            }
            if let Some(next) = continued(next, self.ast.escape) {
                line.push_str(next);
            } else {
                line.push_str(next);
                break;
            }
        }
        Joined { line: line.into(), gaps }
    }

    /// Reads the bodies of the here-documents a line announces.
    fn heredocs(&mut self, line: &str) -> Result<Vec<Heredoc<'text>>, Mistake> {
        let announced = heredoc::of_line(line).map_err(|error| Mistake::new(error.to_string()))?;
        announced.into_iter().map(|heredoc| self.body(heredoc)).collect()
    }

    fn body(&mut self, heredoc: Heredoc<'static>) -> Result<Heredoc<'text>, Mistake> {
        let from = self.reader.rest;
        let mut length = 0;
        for line in self.reader.by_ref() {
            let mut end = without_line_end(line);
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                return Ok(Heredoc { content: from[..length].into(), ..heredoc });
            }
            length += line.len();
        }
        Err(Mistake::new("unterminated heredoc"))
    }

    /// What is wrong with the file as a whole.
    fn end(&mut self, read_any: bool) {
        let place = Lines::one(self.reader.number);
        if !read_any {
            self.ast.mistakes.push(Mistake::new("file with no instructions").at(place));
        } else if self.reader.too_long {
            let message =
                format!("dockerfile line greater than max allowed size of {LONGEST_LINE}");
            self.ast.mistakes.push(Mistake::new(message).at(place));
        }
    }
}

impl<'text> Command<'text> {
    fn into_instruction(
        self,
        original: Cow<'text, str>,
        lines: Lines,
        comments: Vec<Cow<'text, str>>,
    ) -> Instruction<'text> {
        Instruction {
            keyword: self.keyword,
            name: self.name,
            original,
            lines,
            flags: self.flags,
            arguments: self.arguments,
            heredocs: Vec::new(),
            comments,
        }
    }
}

fn without_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line without its last character if that is an escape, which continues it.
///
/// Spaces may follow the escape; another escape in front takes its meaning away.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if before.ends_with(escape) { None } else { Some(before) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn originals(text: &str) -> Vec<String> {
        parse(text).instructions.into_iter().map(|one| one.original.into_owned()).collect()
    }

    fn mistakes(text: &str) -> Vec<(String, Vec<Lines>)> {
        parse(text).mistakes.into_iter().map(|one| (one.message, one.places)).collect()
    }

    #[test]
    fn a_single_line_is_borrowed_and_joined_lines_are_not() {
        let ast = parse("FROM a\nRUN b \\\n  c\n");
        assert!(matches!(&ast.instructions[0].original, Cow::Borrowed("FROM a")));
        assert!(matches!(&ast.instructions[1].original, Cow::Owned(line) if line == "RUN b   c"));
    }

    #[test]
    fn a_doubled_escape_does_not_continue_a_line() {
        assert_eq!(originals("RUN a \\\\\nRUN b\n"), ["RUN a \\\\", "RUN b"]);
        assert_eq!(originals("RUN a \\ \t\r\nb\r\n"), ["RUN a b"]);
        assert_eq!(originals("\\\nRUN a\n"), ["RUN a"]);
        assert_eq!(originals("RUN a \\\n"), ["RUN a "]);
        assert_eq!(originals("RUN a \\"), ["RUN a "]);
    }

    #[test]
    fn reading_goes_on_after_a_mistake() {
        let text = "# escape=x\nENV a\nRUN b\nCMD [1]\nCOPY <<E x\n";
        assert_eq!(originals(text), ["RUN b"]);
        let lines = |first, last| vec![Lines { first, last }];
        assert_eq!(
            mistakes(text),
            [
                ("invalid escape token 'x' does not match ` or \\".into(), lines(0, 0)),
                ("ENV must have two arguments".into(), lines(2, 2)),
                (
                    "when using JSON array syntax, arrays must be comprised of strings only".into(),
                    lines(4, 4)
                ),
                ("unterminated heredoc".into(), lines(5, 5)),
            ]
        );
    }

    #[test]
    fn the_longest_line_is_65535_bytes() {
        let line = format!("RUN {}", "x".repeat(LONGEST_LINE - 4));
        assert_eq!(mistakes(&format!("FROM a\n{line}\n")), []);
        assert_eq!(mistakes(&line), []);
        assert_eq!(mistakes(&format!("FROM a\n{line}x\n"))[0].1, [Lines::one(1)]);
    }

    #[test]
    fn a_file_without_instructions_is_a_mistake() {
        for (text, line) in [("", 0), ("\n", 1), ("# c\n\n", 2), ("\u{feff}", 1)] {
            let want = ("file with no instructions".to_owned(), vec![Lines::one(line)]);
            assert_eq!(mistakes(text), [want], "{text:?}");
        }
    }
}
