//! Dockerfiles in an editor: what is wrong, what a word means, what may be written.

use kiln_editor::{Completion, CompletionKind, Hover, Language};
use kiln_sdk::document::{Diagnostic, Fix, Position, Source, Span};

use crate::ast;
use crate::diagnose;
use crate::flags::Takes;
use crate::instruction::{Add, Copy, Healthcheck, RUN_FLAGS};
use crate::keyword::Keyword;
use crate::lint;

/// The language, as editors see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Editing;

impl Language for Editing {
    fn name(&self) -> &str {
        "dockerfile"
    }

    fn is_for(&self, file_name: &str) -> bool {
        let name = file_name.to_ascii_lowercase();
        let is_one = |part: &str| matches!(part, "dockerfile" | "containerfile");
        name.split('.').next().is_some_and(is_one) || name.rsplit('.').next().is_some_and(is_one)
    }

    fn diagnose(&self, source: &Source) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = diagnose::diagnose(source)
            .into_iter()
            .map(|mistake| guessed(mistake, source))
            .collect();
        let warnings = lint::warnings(source.text());
        let line = |warning: &lint::LintWarning| usize::try_from(warning.lines.first).unwrap_or(1);
        let violationes: Vec<(&str, usize)> =
            warnings.iter().map(|warning| (warning.rule.name, line(warning))).collect();
        let fixes = lint::fixes(source, &violationes);
        found.extend(warnings.iter().zip(fixes).map(|(warning, fix)| {
            let span = source.trimmed(source.line(line(warning)));
            Diagnostic::warning(&warning.text).at(span).rule(warning.rule.name).fixed_by(fix)
        }));
        found
    }

    fn hover(&self, source: &Source, offset: usize) -> Option<Hover> {
        let (keyword, span) = keyword_at(source, offset)?;
        let (form, text) = meaning(keyword);
        Some(Hover { span, text: format!("```dockerfile\n{form}\n```\n{text}") })
    }

    fn complete(&self, source: &Source, offset: usize) -> Vec<Completion> {
        complete(source, offset)
    }

    fn fixes(&self, source: &Source, violationes: &[(&str, usize)]) -> Vec<Option<Fix>> {
        lint::fixes(source, violationes)
    }
}

/// A mistake with the reference's guess as a fix.
fn guessed(mistake: Diagnostic, source: &Source) -> Diagnostic {
    let guess = mistake.message.rsplit_once(" (did you mean ");
    let guess = guess.and_then(|(_, guess)| guess.strip_suffix("?)")).map(str::to_owned);
    let (Some(guess), Some(span)) = (guess, mistake.span) else { return mistake };
    let written = source.slice(span);
    let dashes = written.len() - written.trim_start_matches('-').len();
    let fix = Fix::word(source, span, written, &format!("{}{guess}", &written[..dashes]));
    mistake.fixed_by(fix)
}

/// The line of a byte up to it, with where the line begins.
fn before(source: &Source, offset: usize) -> (usize, &str) {
    let Position { line, .. } = source.position(offset);
    let start = source.line(line).start;
    (start, source.slice(Span::new(start, offset)))
}

/// The instruction whose name is at a byte.
fn keyword_at(source: &Source, offset: usize) -> Option<(Keyword, Span)> {
    let Position { line, .. } = source.position(offset);
    let Span { start, end } = source.trimmed(source.line(line));
    let name = source.slice(Span::new(start, end)).split_whitespace().next()?;
    let span = Span::new(start, start + name.len());
    let is_here = (span.start..=span.end).contains(&offset);
    // What continues another line is none of its own.
    let ast = is_here.then(|| ast::parse(source.text()))?;
    let line = u32::try_from(line).ok()?;
    let one = ast.instructions.iter().find(|one| one.lines.first == line)?;
    Some((one.keyword?, span))
}

fn complete(source: &Source, offset: usize) -> Vec<Completion> {
    let (start, text) = before(source, offset);
    let word_start = text.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &text[word_start..];
    let span = Span::new(start + word_start, start + text.len());
    let completion = |label: &str, kind, text: &str, insert: String, span| Completion {
        label: label.to_owned(),
        kind,
        text: text.to_owned(),
        span,
        insert,
    };
    if text.trim_start().len() == word.len() && word.chars().all(|c| c.is_ascii_alphabetic()) {
        let lower = !word.is_empty() && word == word.to_lowercase();
        let keywords = Keyword::all().filter(|keyword| *keyword != Keyword::Maintainer);
        return keywords
            .map(|keyword| {
                let name = if lower { keyword.lower() } else { keyword.upper() };
                let insert = format!("{name} ");
                completion(name, CompletionKind::Keyword, meaning(keyword).1, insert, span)
            })
            .collect();
    }
    let Some(keyword) = text.split_whitespace().next().and_then(Keyword::find) else {
        return Vec::new();
    };
    let stages = || {
        let names = stage_names(source, offset);
        let from = word.strip_prefix("--from=").unwrap_or(word);
        let span = Span::new(span.end - from.len(), span.end);
        let stage = |name: String| completion(&name, CompletionKind::Value, "", name.clone(), span);
        names.into_iter().map(stage).collect()
    };
    if (keyword == Keyword::Copy && word.starts_with("--from="))
        || (keyword == Keyword::From && !word.starts_with('-'))
    {
        return stages();
    }
    if !word.starts_with('-') {
        return Vec::new();
    }
    let flags = flags(keyword).iter().map(|(name, takes)| {
        let equals = if *takes == Takes::Bool { "" } else { "=" };
        let label = format!("--{name}");
        completion(&label, CompletionKind::Key, "", format!("{label}{equals}"), span)
    });
    flags.collect()
}

/// The names of the stages that end before a byte.
fn stage_names(source: &Source, offset: usize) -> Vec<String> {
    let ast = ast::parse(source.slice(Span::new(0, offset)));
    let froms = ast.instructions.iter().filter(|one| one.keyword == Some(Keyword::From));
    let names = froms.filter_map(|one| match one.arguments.strings()[..] {
        [_, _, name] => Some(name.to_lowercase()),
        _ => None,
    });
    names.collect()
}

fn flags(keyword: Keyword) -> &'static [(&'static str, Takes)] {
    match keyword {
        Keyword::Add => Add::FLAGS,
        Keyword::Copy => Copy::FLAGS,
        Keyword::From => &[("platform", Takes::Text)],
        Keyword::Healthcheck => Healthcheck::FLAGS,
        Keyword::Run => RUN_FLAGS,
        _ => &[],
    }
}

/// How an instruction is written, and what it does.
fn meaning(keyword: Keyword) -> (&'static str, &'static str) {
    match keyword {
        Keyword::Add => (
            "ADD [--chown=USER:GROUP] [--chmod=MODE] [--checksum=DIGEST] SOURCE… TARGET",
            "Adds files of the build context, of a URL or of a git repository. Archives are unpacked.",
        ),
        Keyword::Arg => ("ARG NAME[=DEFAULT] …", "Declares a variable that `--build-arg` sets."),
        Keyword::Cmd => (
            "CMD [\"PROGRAM\", \"ARGUMENT\", …]",
            "What the image runs if nothing else is asked for, or the arguments of its entrypoint.",
        ),
        Keyword::Copy => (
            "COPY [--from=STAGE|IMAGE] [--chown=USER:GROUP] [--chmod=MODE] SOURCE… TARGET",
            "Copies files of the build context, of another stage or of an image.",
        ),
        Keyword::Entrypoint => {
            ("ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\", …]", "The program that the image runs.")
        }
        Keyword::Env => ("ENV NAME=VALUE …", "Sets variables for later steps and in the image."),
        Keyword::Expose => ("EXPOSE PORT[/PROTOCOL] …", "Says which ports the image listens on."),
        Keyword::From => (
            "FROM [--platform=PLATFORM] IMAGE [AS NAME]",
            "Begins a stage on an image, on another stage, or on nothing (`scratch`).",
        ),
        Keyword::Healthcheck => (
            "HEALTHCHECK [--interval=DURATION] [--timeout=DURATION] [--retries=N] CMD COMMAND",
            "How to tell that a container is well.",
        ),
        Keyword::Label => ("LABEL KEY=VALUE …", "Labels the image."),
        Keyword::Maintainer => ("MAINTAINER NAME", "Names the author. A label does that now."),
        Keyword::Onbuild => {
            ("ONBUILD INSTRUCTION", "An instruction for builds on top of this image.")
        }
        Keyword::Run => (
            "RUN [--mount=type=…] [--network=…] COMMAND",
            "Runs a command; what it changes is the next layer.",
        ),
        Keyword::Shell => {
            ("SHELL [\"PROGRAM\", \"ARGUMENT\", …]", "The shell of commands in shell form.")
        }
        Keyword::StopSignal => ("STOPSIGNAL SIGNAL", "The signal that stops a container."),
        Keyword::User => ("USER USER[:GROUP]", "Who runs later steps and the image."),
        Keyword::Volume => ("VOLUME PATH …", "Directories that are mounts when the image runs."),
        Keyword::Workdir => ("WORKDIR PATH", "The directory of later steps and of the image."),
    }
}
