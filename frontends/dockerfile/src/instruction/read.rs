//! Nodes into statements: which instruction reads which arguments, and what the linter hears of it.

use std::borrow::Cow;

use super::{
    Add, ArgDefinition, Command, CommandLine, Copy, From, Healthcheck, Instruction, Pair, Run,
    Statement,
};
use crate::ast::{self, Arguments};
use crate::flags::Flags;
use crate::keyword::Keyword;
use crate::lint::{Linter, Violation};
use crate::mistake::Mistake;
use crate::suggest;

impl Statement {
    /// Understands one node; the linter hears of what is wrong with its style.
    ///
    /// # Errors
    ///
    /// The reference's text for the first mistake of the instruction, with its place.
    pub fn read(node: &ast::Instruction<'_>, linter: &mut Linter) -> Result<Self, Mistake> {
        let request = Request { node };
        request.read(linter).map_err(|message| Mistake::new(message).at(node.lines))
    }
}

impl Instruction {
    /// Understands the node of an `ONBUILD` trigger of a base image. Nobody lints those.
    ///
    /// # Errors
    ///
    /// The reference's text for the first mistake, with its place; `FROM` is one.
    pub fn read_trigger(node: &ast::Instruction<'_>) -> Result<Self, Mistake> {
        match Statement::read(node, &mut Linter::silent())? {
            Statement::Instruction(instruction) => Ok(instruction),
            Statement::From(from) => {
                Err(Mistake::new("*instructions.Stage is not a command type").at(from.lines))
            }
        }
    }
}

/// A node to be understood.
pub(super) struct Request<'node, 'text> {
    pub(super) node: &'node ast::Instruction<'text>,
}

impl Request<'_, '_> {
    fn read(&self, linter: &mut Linter) -> Result<Statement, String> {
        let Some(keyword) = self.node.keyword else {
            let message = format!("unknown instruction: {}", self.node.name);
            let names = Keyword::all().map(Keyword::upper);
            return Err(suggest::hint(message, &self.node.name, names, false));
        };
        if keyword == Keyword::From {
            return self.read_from(linter).map(Statement::From);
        }
        if keyword == Keyword::Maintainer {
            self.report(linter, &Violation::MaintainerDeprecated);
        }
        let command = self.command(keyword)?;
        if let Command::Arg(definitions) = &command {
            let names: Vec<&str> = definitions.iter().map(|arg| arg.key.as_str()).collect();
            self.lint_description(linter, "ARG", &names);
        }
        Ok(Statement::Instruction(Instruction {
            name: self.node.name.to_string(),
            code: self.code(),
            lines: self.node.lines,
            comments: self.comments(),
            command,
        }))
    }

    fn read_from(&self, linter: &mut Linter) -> Result<From, String> {
        self.lint_from(linter);
        let from = From::read(self)?;
        if let Some(name) = &from.name {
            self.lint_description(linter, "FROM", &[name]);
        }
        Ok(from)
    }

    /// What each instruction but `FROM` asks for.
    ///
    /// Some count their arguments before they look at flags and some do not, and a few ignore
    /// flags, because which mistake of several is told depends on it.
    fn command(&self, keyword: Keyword) -> Result<Command, String> {
        Ok(match keyword {
            Keyword::Add => Command::Add(Add::read(self)?),
            Keyword::Arg => Command::Arg(ArgDefinition::read(self)?),
            Keyword::Cmd => {
                self.no_flags()?;
                Command::Cmd(CommandLine::read(self))
            }
            Keyword::Copy => Command::Copy(Copy::read(self)?),
            Keyword::Entrypoint => {
                self.no_flags()?;
                Command::Entrypoint(CommandLine::read(self))
            }
            Keyword::Env => Command::Env(Pair::read(self, "ENV")?),
            Keyword::Expose => Command::Expose(self.ports()?),
            Keyword::Healthcheck => Command::Healthcheck(Healthcheck::read(self)?),
            Keyword::Label => Command::Label(Pair::read(self, "LABEL")?),
            Keyword::Maintainer => Command::Maintainer(self.one_without_flags("MAINTAINER")?),
            Keyword::Onbuild => Command::Onbuild(self.trigger()?),
            Keyword::Run => Command::Run(Box::new(Run::read(self)?)),
            Keyword::Shell => Command::Shell(self.shell()?),
            Keyword::StopSignal => Command::StopSignal(self.one("STOPSIGNAL")?),
            Keyword::User => Command::User(self.one_without_flags("USER")?),
            Keyword::Volume => Command::Volume(self.volumes()?),
            Keyword::Workdir => Command::Workdir(self.one_without_flags("WORKDIR")?),
            Keyword::From => return Err("FROM begins a stage".into()),
        })
    }

    fn ports(&self) -> Result<Vec<String>, String> {
        self.at_least_one("EXPOSE")?;
        self.no_flags()?;
        let mut ports = self.strings();
        ports.sort_unstable();
        Ok(ports)
    }

    fn volumes(&self) -> Result<Vec<String>, String> {
        self.at_least_one("VOLUME")?;
        self.no_flags()?;
        let volumes = self.node.arguments.strings();
        let trimmed: Vec<String> = volumes.iter().map(|volume| volume.trim().to_owned()).collect();
        if trimmed.iter().any(String::is_empty) {
            return Err("VOLUME specified can not be an empty string".into());
        }
        Ok(trimmed)
    }

    fn shell(&self) -> Result<Vec<String>, String> {
        self.no_flags()?;
        self.at_least_one("SHELL")?;
        if !self.node.arguments.is_json() {
            return Err("SHELL requires the arguments to be in JSON form".into());
        }
        Ok(self.strings())
    }

    /// The text of a trigger: the instruction behind `ONBUILD`, and its heredocs below it.
    fn trigger(&self) -> Result<String, String> {
        let Arguments::Trigger(trigger) = &self.node.arguments else {
            return Err("ONBUILD requires at least one argument".into());
        };
        self.no_flags()?;
        match trigger.keyword {
            Some(Keyword::Onbuild) => {
                return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into());
            }
            Some(keyword @ (Keyword::Maintainer | Keyword::From)) => {
                return Err(format!("{} isn't allowed as an ONBUILD trigger", keyword.upper()));
            }
            _ => {}
        }
        let mut text = without_onbuild(&self.node.original).to_owned();
        for heredoc in &self.node.heredocs {
            for piece in ["\n", &heredoc.content, &heredoc.name] {
                text.push_str(piece);
            }
        }
        Ok(text)
    }
}

/// The text behind `ONBUILD` and the blanks around it.
fn without_onbuild(text: &str) -> &str {
    const ONBUILD: &str = "onbuild";
    let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r');
    let start = text.trim_start_matches(blank);
    match start.get(..ONBUILD.len()) {
        Some(word) if word.eq_ignore_ascii_case(ONBUILD) => {
            start[ONBUILD.len()..].trim_start_matches(blank)
        }
        _ => text,
    }
}

/// What instructions ask of their nodes.
impl Request<'_, '_> {
    pub(super) fn strings(&self) -> Vec<String> {
        self.node.arguments.strings().into_iter().map(str::to_owned).collect()
    }

    pub(super) fn count(&self) -> usize {
        match &self.node.arguments {
            Arguments::None => 0,
            Arguments::Words(words) | Arguments::Json(words) => words.len(),
            _ => 1,
        }
    }

    pub(super) fn at_least_one(&self, instruction: &str) -> Result<(), String> {
        match self.count() {
            0 => Err(format!("{instruction} requires at least one argument")),
            _ => Ok(()),
        }
    }

    fn one(&self, instruction: &str) -> Result<String, String> {
        match self.node.arguments.strings()[..] {
            [argument] => Ok(argument.to_owned()),
            _ => Err(format!("{instruction} requires exactly one argument")),
        }
    }

    fn one_without_flags(&self, instruction: &str) -> Result<String, String> {
        let argument = self.one(instruction)?;
        self.no_flags()?;
        Ok(argument)
    }

    pub(super) fn no_flags(&self) -> Result<(), String> {
        Flags::read(&self.node.flags, &[]).map(|_| ())
    }

    /// The content of the last heredoc with this name; empty if there is none.
    pub(super) fn heredoc(&self, name: &str) -> &str {
        let found = self.node.heredocs.iter().rfind(|heredoc| heredoc.name == name);
        found.map(|heredoc| heredoc.content.as_ref()).unwrap_or_default()
    }

    pub(super) fn code(&self) -> String {
        self.node.original.trim().to_owned()
    }

    pub(super) fn comments(&self) -> Vec<String> {
        self.node.comments.iter().map(Cow::to_string).collect()
    }

    /// What the first comment that begins with the name and a space says behind it.
    pub(super) fn description(&self, name: &str) -> String {
        let about = |comment: &Cow<'_, str>| {
            comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)
        };
        self.node.comments.iter().find_map(about).unwrap_or_default()
    }
}

/// What the linter hears.
impl Request<'_, '_> {
    fn report(&self, linter: &mut Linter, violation: &Violation) {
        linter.report(&self.node.comments, self.node.lines, violation);
    }

    fn lint_from(&self, linter: &mut Linter) {
        let words = self.node.arguments.strings();
        if let [_, _, stage] = words[..]
            && stage != stage.to_lowercase()
        {
            self.report(linter, &Violation::StageNameCasing { stage: stage.to_owned() });
        }
        if let [_, keyword, _, ..] = words[..] {
            let from: &str = &self.node.name;
            let matches = match (from == from.to_lowercase(), from == from.to_uppercase()) {
                (true, _) => keyword == keyword.to_lowercase(),
                (_, true) => keyword == keyword.to_uppercase(),
                // Mixed case in FROM itself is another rule's business.
                _ => true,
            };
            if !matches {
                let (from, keyword) = (from.to_owned(), keyword.to_owned());
                self.report(linter, &Violation::FromAsCasing { from, keyword });
            }
        }
    }

    /// The last comment above a definition is to begin with the name of what is defined.
    fn lint_description(&self, linter: &mut Linter, instruction: &'static str, names: &[&str]) {
        let (Some(comment), Some(first)) = (self.node.comments.last(), names.first()) else {
            return;
        };
        let word = comment.split(' ').next().unwrap_or_default();
        if !names.contains(&word) {
            let name = if names.len() > 1 { "<arg_key>" } else { first };
            let name = name.to_owned();
            self.report(linter, &Violation::InvalidDefinitionDescription { instruction, name });
        }
    }
}
