//! What a user is told about a file: what is wrong, where, and what to do.
//!
//! A [`Diagnostic`] is data; [`Diagnostic::render`] makes the screen of it. The text shown comes
//! from strangers, so control characters never reach the terminal as they are.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::{Deserialize, Serialize};

use crate::{Source, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
// Complete: a mistake ends the build, or it does not.
pub enum Severity {
    /// Nothing can be built.
    Error,
    /// The build goes on.
    Warning,
}

/// One thing to say about a file. As JSON it goes from a frontend to those who show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line, in lower case.
    pub message: String,
    /// Where; none when it concerns no line of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// What stands beside the carets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Other places that matter, each with what stands beside its marks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Span, String)>,
    /// What else the reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The same, done; none where somebody has to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// The rule that was not kept, if it is one with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Edits that put something right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// What they do, in a few words.
    pub title: String,
    /// What is replaced; no two overlap.
    pub edits: Vec<Edit>,
}

/// A text in the place of another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// What is replaced; if empty, nothing is, and the text is put there.
    pub span: Span,
    /// What stands there then.
    pub text: String,
}

impl Fix {
    /// One edit.
    pub fn new(title: impl Into<String>, span: Span, text: impl Into<String>) -> Self {
        Self { title: title.into(), edits: vec![Edit { span, text: text.into() }] }
    }

    /// A word in the place of one that was misspelt, in the quotes that stand around it; none if
    /// something else stands there.
    #[must_use]
    pub fn word(source: &Source, span: Span, old: &str, new: &str) -> Option<Self> {
        let written = source.slice(span);
        let quote = written.chars().next().filter(|first| matches!(first, '"' | '\''));
        let text = match quote {
            Some(quote) if written == format!("{quote}{old}{quote}") => {
                format!("{quote}{new}{quote}")
            }
            _ if written == old => new.to_owned(),
            _ => return None,
        };
        Some(Self::new(format!("change to `{new}`"), span, text))
    }

    /// Applies fixes to a text, in order; one that touches what an earlier one changed is left out.
    /// Gives the new text, and which were applied, by index.
    #[must_use]
    pub fn apply_all(source: &Source, fixes: &[&Self]) -> (String, Vec<usize>) {
        let mut taken: Vec<&Edit> = Vec::new();
        let mut applied = Vec::new();
        for (index, fix) in fixes.iter().enumerate() {
            let meets = |edit: &&Edit| {
                let of = |other: &&Edit| {
                    edit.span == other.span
                        || (edit.span.start < other.span.end && other.span.start < edit.span.end)
                };
                taken.iter().any(of)
            };
            if !fix.edits.iter().any(|edit| meets(&edit)) {
                taken.extend(&fix.edits);
                applied.push(index);
            }
        }
        taken.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let (mut text, mut at) = (String::new(), 0);
        for edit in taken {
            text += source.slice(Span::new(at, edit.span.start));
            text += &edit.text;
            at = edit.span.end.max(at);
        }
        text += source.slice(Span::new(at, source.text().len()));
        (text, applied)
    }
}

impl Diagnostic {
    /// Starts an error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// Starts a warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            span: None,
            label: None,
            related: Vec::new(),
            notes: Vec::new(),
            hint: None,
            fix: None,
            rule: None,
        }
    }

    /// Says how it is put right, if that is known.
    #[must_use]
    pub fn fixed_by(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Names the rule.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Says what stands beside the carets.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Points at another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Adds something the reader should know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The place as `file:line:column`, or the file alone when there is no span.
    #[must_use]
    pub fn place(&self, source: &Source) -> String {
        match self.span {
            Some(span) => {
                let position = source.position(span.start);
                format!("{}:{}:{}", source.name(), position.line, position.character)
            }
            None => source.name().to_owned(),
        }
    }

    /// One line: `file:line:column: error: message`.
    #[must_use]
    pub fn summary(&self, source: &Source) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        normalize_untrusted_str(&format!("{}: {severity}: {}", self.place(source), self.message))
    }

    /// What is wrong and what to do, without the place: `message; hint`.
    #[must_use]
    pub fn advice(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// The whole screen, plain text: message, place, line, carets, notes and help. Ends without a
    /// line end.
    #[must_use]
    pub fn render(&self, source: &Source) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(clean(&self.message)).elements(self.snippet(source));
        for note in &self.notes {
            group = group.element(Level::NOTE.message(clean(note)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(clean(hint)));
        }
        let report: &[Group<'_>] = &[group];
        Renderer::plain().render(report)
    }

    /// The lines the diagnostic points at. Only they are handed over, so that a long file costs
    /// nothing.
    fn snippet<'a>(
        &self,
        source: &'a Source,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let primary = self.span?;
        let all = self.related.iter().fold(primary, |all, (span, _)| all.to(*span));
        let lines = source.whole_lines(all);
        let within = |span: Span| {
            let span = source.clamp(span);
            span.start - lines.start..span.end - lines.start
        };
        let snippet = Snippet::source(source.slice(lines))
            .path(clean(source.name()))
            .line_start(source.position(lines.start).line)
            .annotation(
                AnnotationKind::Primary
                    .span(within(first_line(source, primary)))
                    .label(self.label.as_deref().map(clean)),
            );
        let related = self.related.iter().map(|(span, label)| {
            AnnotationKind::Context.span(within(first_line(source, *span))).label(clean(label))
        });
        Some(snippet.annotations(related))
    }
}

/// All screens, one empty line between them, each ending its line.
#[must_use]
pub fn render_all(diagnostics: &[Diagnostic], source: &Source) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render(source) + "\n")
        .collect::<Vec<_>>()
        .join("\n")
}

/// A span of many lines is marked on its first only: a whole mapping under carets helps nobody.
fn first_line(source: &Source, span: Span) -> Span {
    let span = source.clamp(span);
    let length = source.slice(span).lines().next().unwrap_or_default().len();
    Span::new(span.start, span.start + length)
}

fn clean(text: &str) -> String {
    normalize_untrusted_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_line_and_what_to_do() {
        let source = Source::new("Dockerfile", "FROM a AS build\nCOPY --from=biuld /out /out\n");
        let start = source.text().find("biuld").unwrap();
        let diagnostic = Diagnostic::error("stage `biuld` does not exist")
            .at(Span::new(start, start + 5))
            .label("did you mean `build` (line 1)?")
            .note("stages are named with AS")
            .hint("write `--from=build`");
        insta::assert_snapshot!(diagnostic.render(&source), @"
        error: stage `biuld` does not exist
         --> Dockerfile:2:13
          |
        2 | COPY --from=biuld /out /out
          |             ^^^^^ did you mean `build` (line 1)?
          |
          = note: stages are named with AS
          = help: write `--from=build`
        ");
        assert_eq!(diagnostic.place(&source), "Dockerfile:2:13");
        assert_eq!(
            diagnostic.summary(&source),
            "Dockerfile:2:13: error: stage `biuld` does not exist"
        );
    }

    #[test]
    fn a_diagnostic_without_a_place_is_one_line() {
        let source = Source::new("f", "");
        assert_eq!(Diagnostic::warning("careful").render(&source), "warning: careful");
    }

    #[test]
    fn text_from_strangers_cannot_steer_the_terminal() {
        let source = Source::new("f\u{1b}[2J", "a: \u{1b}[31mred\u{202e}\n");
        let diagnostic =
            Diagnostic::error("bad \u{1b}[31m").at(Span::new(3, 12)).label("\u{1b}").hint("\u{1b}");
        assert!(!diagnostic.render(&source).contains(['\u{1b}', '\u{202e}']));
        assert!(!diagnostic.summary(&source).contains('\u{1b}'));
    }

    #[test]
    fn a_diagnostic_survives_json_and_a_short_one_is_enough() {
        let fix = Fix::new("change", Span::new(3, 4), "x");
        let whole = Diagnostic::warning("odd").at(Span::new(1, 2)).related(Span::new(2, 3), "see");
        let whole = whole.label("here").note("so it is").hint("do").fixed_by(fix).rule("Odd");
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Diagnostic>(&json).unwrap(), whole);
        let short: Diagnostic =
            serde_json::from_str(r#"{"severity": "error", "message": "odd"}"#).unwrap();
        assert_eq!(short, Diagnostic::error("odd"));
    }

    #[test]
    fn a_span_outside_the_text_still_renders() {
        let source = Source::new("f", "é");
        let rendered = Diagnostic::error("odd").at(Span::new(1, 900)).render(&source);
        assert!(rendered.contains("f:1:1"), "{rendered}");
    }
}
