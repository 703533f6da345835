//! How the program says what went wrong.
//!
//! An error comes in, text for standard error goes out. If the daemon told where in the user's files
//! the mistake is, those lines are shown first, with marks; then one line with the whole story.

use std::fmt::Write as _;
use std::process::ExitCode;

use kiln_client::SolveError;
use kiln_wire::status::{Detail, RichStatus, Source};

use crate::commands::build::Canceled;
use crate::commands::signals::Interrupted;
use crate::expected_cache::NotCached;
use crate::missing_file::Note;

/// The exit code of commands that tell a bad answer from a bad question.
const UNUSABLE: u8 = 2;

/// The exit code of a build that was done, but not from the cache as `--expect-cached` wants it.
const NOT_CACHED: u8 = 3;

/// What was to be judged cannot be: the question is wrong, not the answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unusable(anyhow::Error);

impl Unusable {
    /// Because of this.
    pub(crate) fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(error.into())
    }

    /// Because of what happened.
    pub(crate) fn of(error: anyhow::Error) -> Self {
        Self(error)
    }
}

/// The exit code for an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Unusable>() {
        return ExitCode::from(UNUSABLE);
    }
    if error.is::<NotCached>() {
        return ExitCode::from(NOT_CACHED);
    }
    let canceled = error.downcast_ref::<Canceled>().map(|Canceled(signal)| signal);
    match canceled.or_else(|| error.downcast_ref::<Interrupted>()) {
        Some(signal) => ExitCode::from(signal.exit_code()),
        None => ExitCode::FAILURE,
    }
}

/// The type of a detail that is text for people.
const ALSO: &str = "kiln.dev/also";
/// Lines shown around the marked ones.
const PADDING: usize = 4;
/// A line is cut here, in characters.
const LONGEST_LINE: usize = 240;
const RULE: &str = "--------------------\n";

/// The report about an error.
pub(crate) fn report(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let status = error.chain().find_map(rich_status);
    for source in status.iter().flat_map(RichStatus::sources) {
        let shown = status.as_ref().is_some_and(|status| shows_its_place(&status.message, source));
        if !shown {
            text += &excerpt(source);
        }
    }
    for more in status.iter().flat_map(|status| &status.details).filter_map(also) {
        text += &more;
    }
    let story = match (error.downcast_ref::<Canceled>(), status) {
        // Who did it knows what is beneath.
        (Some(canceled), _) => canceled.to_string(),
        // What a frontend says about a file stands for itself, with the lines that are meant.
        (None, Some(status)) if status.message.starts_with("error: ") => {
            status.message.trim_start_matches("error: ").to_owned()
        }
        (None, _) => story(error),
    };
    // Writing to a string cannot fail.
    writeln!(text, "error: {story}").ok();
    if let Some(Note(note)) = error.downcast_ref::<Note>() {
        writeln!(text, "note: {}", printable(note)).ok();
    }
    text
}

/// What the daemon says went wrong; empty if it said nothing.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error.chain().find_map(rich_status).map(|status| status.message).unwrap_or_default()
}

/// The lines of the user's files that the daemon means.
pub(crate) fn source_lines(error: &anyhow::Error) -> Vec<String> {
    let status = error.chain().find_map(rich_status);
    let excerpts = status.iter().flat_map(RichStatus::sources).filter_map(Excerpt::of);
    let lines = excerpts.flat_map(|excerpt| excerpt.lines);
    lines.filter(|line| line.marked).map(|line| line.text).collect()
}

/// Whether a message shows the lines of a file by itself, as diagnostics do.
fn shows_its_place(message: &str, source: &Source) -> bool {
    let place = format!("--> {}:", source.info.filename);
    message.lines().any(|line| line.trim_start().starts_with(&place))
}

/// What a frontend adds for people beside its message, such as further mistakes of the same file.
pub(crate) fn also(detail: &Detail) -> Option<String> {
    let Detail::Other(any) = detail else { return None };
    let text = (any.type_url == ALSO).then(|| String::from_utf8_lossy(&any.value))?;
    let lines = text.trim_end().lines().map(|line| printable(line) + "\n");
    Some(lines.collect())
}

/// The messages of the chain, outermost first, each that adds something.
fn story(error: &anyhow::Error) -> String {
    let mut story = String::new();
    for cause in error.chain() {
        let message = match rich_status(cause) {
            Some(status) => status.message,
            None => cause.to_string(),
        };
        // Layers often repeat what is beneath them.
        if message.is_empty() || story.ends_with(&message) {
            continue;
        }
        if !story.is_empty() {
            story += ": ";
        }
        story += &message;
        // What is beneath a status is how it travelled.
        if cause.is::<tonic::Status>() {
            break;
        }
    }
    story
}

fn rich_status(cause: &(dyn std::error::Error + 'static)) -> Option<RichStatus> {
    if let Some(status) = cause.downcast_ref::<tonic::Status>() {
        return Some(RichStatus::from_status(status));
    }
    match cause.downcast_ref::<SolveError>() {
        Some(SolveError::Daemon(status)) => Some(status.clone()),
        _ => cause.downcast_ref::<RichStatus>().cloned(),
    }
}

/// Lines of a user's file around those that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The file with the first line that is meant, and the column if only a part of one line is.
    pub(crate) place: String,
    /// The lines.
    pub(crate) lines: Vec<ExcerptLine>,
    /// The line and the columns of the only range, if it is within one line.
    caret: Option<(usize, usize, usize)>,
}

/// A line of an excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExcerptLine {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// It is meant.
    pub(crate) marked: bool,
    /// What it says, without control characters.
    pub(crate) text: String,
}

impl Excerpt {
    /// The lines around the ranges; `None` if those are outside the file.
    pub(crate) fn of(source: &Source) -> Option<Self> {
        let content = String::from_utf8_lossy(&source.info.data);
        let lines: Vec<&str> = content.lines().collect();
        let marked: Vec<(usize, usize)> =
            source.ranges.iter().filter_map(|range| clamp(range, lines.len())).collect();
        let first = marked.iter().map(|(start, _)| *start).min()?;
        let last = marked.iter().map(|(_, end)| *end).max().unwrap_or(first);
        let (from, to) = window(first, last, lines.len());
        let caret = single_line_columns(source);
        let column = caret.map_or(String::new(), |(_, start, _)| format!(":{}", start + 1));
        let line = |number: usize| ExcerptLine {
            number,
            marked: marked.iter().any(|(start, end)| (*start..=*end).contains(&number)),
            text: printable(lines[number - 1]),
        };
        Some(Self {
            place: format!("{}:{first}{column}", source.info.filename),
            lines: (from..=to).map(line).collect(),
            caret,
        })
    }
}

/// The lines of a user's file around the ranges, `>>>` before those that are meant; empty if the
/// ranges are outside the file.
pub(crate) fn excerpt(source: &Source) -> String {
    let Some(Excerpt { place, lines, caret }) = Excerpt::of(source) else { return String::new() };
    let mut text = format!("{place}\n{RULE}");
    for ExcerptLine { number, marked, text: line } in lines {
        let mark = if marked { ">>>" } else { "   " };
        writeln!(text, " {number:3} | {mark} {line}").ok();
        if let Some((_, start, end)) = caret.filter(|(line, _, _)| *line == number) {
            let indent = " ".repeat(start);
            writeln!(text, "     |     {indent}{}", "^".repeat(end.max(start + 1) - start)).ok();
        }
    }
    text + RULE
}

/// The lines of a range that are in the file, from 1.
fn clamp(range: &kiln_wire::pb::Range, lines: usize) -> Option<(usize, usize)> {
    let line = |position: &Option<kiln_wire::pb::Position>| {
        position.as_ref().and_then(|position| usize::try_from(position.line).ok())
    };
    let start = line(&range.start)?.max(1);
    let end = line(&range.end).unwrap_or(start).max(start);
    (start <= lines).then_some((start, end.min(lines)))
}

/// What is shown around the lines `first` to `last`: a few more on either side.
fn window(first: usize, last: usize, lines: usize) -> (usize, usize) {
    let mut padding = PADDING;
    let (mut from, mut to) = (first, last);
    while padding > 0 && (from > 1 || to < lines) {
        if from > 1 && padding > 0 {
            from -= 1;
            padding -= 1;
        }
        if to < lines && padding > 0 {
            to += 1;
            padding -= 1;
        }
    }
    (from, to)
}

/// The line and columns of the only range, if it is within one line that is shown whole.
fn single_line_columns(source: &Source) -> Option<(usize, usize, usize)> {
    let [range] = source.ranges.as_slice() else { return None };
    let (start, end) = (range.start.as_ref()?, range.end.as_ref()?);
    let line = usize::try_from(start.line).ok().filter(|line| *line > 0)?;
    let from = usize::try_from(start.character).ok()?;
    let to = usize::try_from(end.character).ok()?;
    let content = String::from_utf8_lossy(&source.info.data);
    let length = content.lines().nth(line - 1)?.chars().count();
    let fits = start.line == end.line && from < to && to <= length.min(LONGEST_LINE);
    fits.then_some((line, from, to))
}

/// A line of a file without what would drive the terminal.
fn printable(line: &str) -> String {
    let shown = line.chars().take(LONGEST_LINE);
    let mut text: String =
        shown.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    if line.chars().nth(LONGEST_LINE).is_some() {
        text += "...";
    }
    // A tab is one column, so that marks stand where they should.
    text.replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use kiln_wire::pb::{Position, Range, SourceInfo};
    use kiln_wire::status::Detail;
    use tonic::Code;

    use super::*;

    /// A line and a column.
    type Place = (i32, i32);

    fn source(text: &str, ranges: &[(Place, Place)]) -> Source {
        let position = |(line, character)| Some(Position { line, character });
        Source {
            info: SourceInfo {
                filename: "Dockerfile".into(),
                data: text.to_owned().into(),
                ..SourceInfo::default()
            },
            ranges: ranges
                .iter()
                .map(|(start, end)| Range { start: position(*start), end: position(*end) })
                .collect(),
        }
    }

    #[test]
    fn the_users_lines_are_shown_with_marks() {
        let file = "FROM alpine\n\nRUN a \\\n  && false\nCOPY . .\nCMD x\nENV y\nUSER z\n";
        let status =
            RichStatus::new(Code::Unknown, "process \"/bin/sh -c false\" did not complete")
                .with(Detail::Source(source(file, &[((3, 0), (4, 0))])));
        let error = anyhow::Error::new(SolveError::Daemon(status)).context("failed to solve");
        insta::assert_snapshot!(report(&error), @r#"
        Dockerfile:3
        --------------------
           1 |     FROM alpine
           2 |     
           3 | >>> RUN a \
           4 | >>>   && false
           5 |     COPY . .
           6 |     CMD x
        --------------------
        error: failed to solve: process "/bin/sh -c false" did not complete
        "#);
    }

    #[test]
    fn a_note_stands_behind_the_story_and_not_in_it() {
        let error = anyhow::Error::new(RichStatus::new(Code::NotFound, "\"/a\": not found"));
        let error = error.context("failed to solve").context(Note("did you mean b?".into()));
        let expected = "error: failed to solve: \"/a\": not found\nnote: did you mean b?\n";
        assert_eq!(report(&error), expected);
    }

    #[test]
    fn a_range_within_a_line_is_underlined() {
        let text = "apiVersion: v1\nimages:\n\t- nmae: demo\n";
        let excerpt = excerpt(&source(text, &[((3, 3), (3, 7))]));
        assert!(excerpt.ends_with('\n'), "{excerpt}");
        insta::assert_snapshot!(excerpt, @"
        Dockerfile:3:4
        --------------------
           1 |     apiVersion: v1
           2 |     images:
           3 | >>>  - nmae: demo
             |        ^^^^
        --------------------
        ");
    }

    #[test]
    fn what_a_frontend_adds_stands_between_the_excerpt_and_the_error() {
        let any = |kind: &str, text: &str| {
            Detail::Other(prost_types::Any { type_url: kind.into(), value: text.into() })
        };
        let status = RichStatus::new(Code::Unknown, "no such flag")
            .with(any("kiln.dev/also", "2 more mistakes\n\u{1b}[2J"))
            .with(any("example.com/other", "for nobody"));
        assert_eq!(
            report(&anyhow::Error::new(status)),
            "2 more mistakes\n\u{fffd}[2J\nerror: no such flag\n"
        );
    }

    #[test]
    fn a_message_that_shows_the_lines_is_not_shown_twice() {
        let message = "error: unknown key `form`\n --> Dockerfile:1:1\n  |\n1 | form: x\n  | ^^^^";
        let status = RichStatus::new(Code::Unknown, message)
            .with(Detail::Source(source("form: x\n", &[((1, 0), (1, 4))])));
        let error = anyhow::Error::new(SolveError::Daemon(status)).context("failed to solve");
        assert_eq!(report(&error), format!("{message}\n"));
    }

    #[test]
    fn a_build_that_was_given_up_ends_as_signals_end_programs() {
        for (signal, code) in [(Interrupted::Interrupt, 130), (Interrupted::Terminate, 143)] {
            let error = anyhow::Error::new(Canceled(signal));
            assert_eq!(report(&error), "error: the build was canceled\n");
            assert_eq!(format!("{:?}", exit_code(&error)), format!("{:?}", ExitCode::from(code)));
        }
    }

    #[test]
    fn hostile_sources_do_no_harm() {
        assert_eq!(excerpt(&source("a\n", &[((7, 0), (9, 0))])), "");
        assert_eq!(excerpt(&source("", &[((1, 0), (1, 0))])), "");
        assert_eq!(excerpt(&source("a", &[])), "");
        insta::assert_snapshot!(excerpt(&source("a\u{1b}[2Jb\n", &[((1, -5), (i32::MAX, 9))])), @"
        Dockerfile:1
        --------------------
           1 | >>> a�[2Jb
        --------------------
        ");
        assert_eq!(excerpt(&source("a", &[((-5, 0), (1, 0))])), "");
    }

    #[test]
    fn the_story_does_not_repeat_itself() {
        let inner = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Err::<(), _>(inner).context("reading x").context("reading x").unwrap_err();
        assert_eq!(report(&error), "error: reading x: no such file\n");
    }
}
