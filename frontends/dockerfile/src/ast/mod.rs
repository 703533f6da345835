//! The second pass: text becomes instructions with their words, nothing of which is understood yet.
//!
//! In goes the text of a Dockerfile, out comes an [`Ast`]. Continued lines are joined, comments and
//! directives are taken out, each instruction has its flags, its arguments in the form its keyword
//! asks for, and its here-documents. What a flag or an argument means is decided by `instruction`;
//! no variable is expanded here. Written by hand and not as a pest grammar: where one token ends
//! depends on the keyword, on the escape directive and, in three places of the reference, on single
//! bytes; and the pass must not copy what it can borrow.

mod arguments;
mod command;
mod file;

use std::borrow::Cow;

use crate::heredoc::Heredoc;
use crate::keyword::Keyword;
use crate::lines::Lines;
use crate::mistake::Mistake;

pub use file::{LONGEST_LINE, parse};

/// The instructions of one file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ast<'text> {
    /// The escape character: backslash unless a directive says backtick.
    pub escape: char,
    /// The instructions that could be read.
    pub instructions: Vec<Instruction<'text>>,
    /// Instructions that are continued over empty lines.
    pub warnings: Vec<EmptyContinuation>,
    /// What could not be read, in the order of the file.
    ///
    /// Reading goes on after a mistake, so that a user sees all of them; the reference stops at the
    /// first. Each has its place.
    pub mistakes: Vec<Mistake>,
}

impl Ast<'_> {
    /// The tree if all of the file could be read, as the reference would have it.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub fn checked(self) -> Result<Self, Mistake> {
        match self.mistakes.first() {
            Some(first) => Err(first.clone()),
            None => Ok(self),
        }
    }
}

/// An instruction has empty lines between its continued lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptyContinuation {
    /// The joined line of the instruction.
    pub joined: String,
    /// The last line of the instruction, without its here-documents.
    pub line: u32,
}

/// One instruction: a joined line and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction<'text> {
    /// Which instruction; none if the name is not one of the language.
    pub keyword: Option<Keyword>,
    /// The name as it is written.
    pub name: Cow<'text, str>,
    /// The joined line.
    pub original: Cow<'text, str>,
    /// All lines, here-documents included. The instruction in an ONBUILD has those of the ONBUILD.
    pub lines: Lines,
    /// The words in front that begin with `--`; quotes and escapes are taken out.
    pub flags: Vec<Cow<'text, str>>,
    /// What follows the flags.
    pub arguments: Arguments<'text>,
    /// The here-documents, in order. Those of an instruction in an ONBUILD are kept at the ONBUILD.
    pub heredocs: Vec<Heredoc<'text>>,
    /// The comments directly above, without their `#`.
    pub comments: Vec<Cow<'text, str>>,
}

/// What follows keyword and flags, in the form the keyword asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments<'text> {
    /// Nothing; also whatever follows an unknown name.
    None,
    /// Words between spaces: FROM, EXPOSE, and ADD, COPY, VOLUME where they are no JSON list.
    /// ARG has words that may hold quoted spaces; quotes are kept.
    Words(Vec<Cow<'text, str>>),
    /// A JSON list of strings, perhaps empty.
    Json(Vec<Cow<'text, str>>),
    /// All of the line: MAINTAINER, STOPSIGNAL, USER, WORKDIR, and CMD, ENTRYPOINT, RUN, SHELL where
    /// they are no JSON list.
    Text(Cow<'text, str>),
    /// Names and values: ENV and LABEL.
    Pairs(Vec<Pair<'text>>),
    /// HEALTHCHECK.
    Health {
        /// The first word: `CMD` or `NONE` in some case, or a mistake.
        kind: Cow<'text, str>,
        /// What follows, as for CMD.
        command: Box<Self>,
    },
    /// The instruction in an ONBUILD.
    Trigger(Box<Instruction<'text>>),
}

/// A name with its value; quotes and escapes are kept in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'text> {
    /// What stands before the equals sign or the first space.
    pub name: Cow<'text, str>,
    /// What stands after it.
    pub value: Cow<'text, str>,
    /// True for the old form `ENV name value`.
    pub legacy: bool,
}

impl Arguments<'_> {
    /// True if there are no arguments; an empty JSON list has none either.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Words(words) | Self::Json(words) => words.is_empty(),
            Self::Pairs(pairs) => pairs.is_empty(),
            Self::Text(_) | Self::Health { .. } | Self::Trigger(_) => false,
        }
    }

    /// True for the JSON form; of a health check, for that of its command.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Health { command, .. } => command.is_json(),
            _ => false,
        }
    }

    /// The arguments as one list: a pair is name, value and separator, a trigger is nothing.
    pub fn strings(&self) -> Vec<&str> {
        match self {
            Self::None | Self::Trigger(_) => Vec::new(),
            Self::Words(words) | Self::Json(words) => words.iter().map(AsRef::as_ref).collect(),
            Self::Text(text) => vec![text],
            Self::Pairs(pairs) => pairs
                .iter()
                .flat_map(|pair| [&*pair.name, &*pair.value, if pair.legacy { "" } else { "=" }])
                .collect(),
            Self::Health { kind, command } => {
                let mut strings = command.strings();
                strings.insert(0, kind);
                strings
            }
        }
    }

    /// The same arguments without the text they were read from.
    pub fn into_owned(self) -> Arguments<'static> {
        match self {
            Self::None => Arguments::None,
            Self::Words(words) => Arguments::Words(owned(words)),
            Self::Json(words) => Arguments::Json(owned(words)),
            Self::Text(text) => Arguments::Text(Cow::Owned(text.into_owned())),
            Self::Pairs(pairs) => {
                Arguments::Pairs(pairs.into_iter().map(Pair::into_owned).collect())
            }
            Self::Health { kind, command } => Arguments::Health {
                kind: Cow::Owned(kind.into_owned()),
                command: Box::new(command.into_owned()),
            },
            Self::Trigger(instruction) => Arguments::Trigger(Box::new(instruction.into_owned())),
        }
    }
}

impl Pair<'_> {
    /// The same pair without the text it was read from.
    pub fn into_owned(self) -> Pair<'static> {
        Pair {
            name: Cow::Owned(self.name.into_owned()),
            value: Cow::Owned(self.value.into_owned()),
            legacy: self.legacy,
        }
    }
}

impl Instruction<'_> {
    /// True if here-documents may follow the line: ADD, COPY and RUN, also in an ONBUILD, but not
    /// with a JSON list.
    pub fn may_have_heredocs(&self) -> bool {
        let instruction = match &self.arguments {
            Arguments::Trigger(trigger) => trigger,
            _ => self,
        };
        instruction.keyword.is_some_and(Keyword::takes_heredocs) && !instruction.arguments.is_json()
    }

    /// The same instruction without the text it was read from.
    pub fn into_owned(self) -> Instruction<'static> {
        Instruction {
            keyword: self.keyword,
            name: Cow::Owned(self.name.into_owned()),
            original: Cow::Owned(self.original.into_owned()),
            lines: self.lines,
            flags: owned(self.flags),
            arguments: self.arguments.into_owned(),
            heredocs: self.heredocs.into_iter().map(Heredoc::into_owned).collect(),
            comments: owned(self.comments),
        }
    }
}

fn owned(words: Vec<Cow<'_, str>>) -> Vec<Cow<'static, str>> {
    words.into_iter().map(|word| Cow::Owned(word.into_owned())).collect()
}
