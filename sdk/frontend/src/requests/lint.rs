//! `frontend.lint`: what is doubtful in the user's file, without building it.

use std::cmp::Ordering;
use std::fmt::Write as _;

use kiln_document::Diagnostic;
use kiln_llb::SourceRange;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::answer::{location, null_if_empty, result};
use crate::protobuf_json::ProtobufJson as _;
use crate::{BuildResult, Location, Ref, SourceInfo};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LintResults {
    /// Everything that is doubtful.
    #[serde(serialize_with = "null_if_empty")]
    pub warnings: Vec<LintWarning>,
    /// The files that the places are in.
    #[serde(serialize_with = "infos")]
    pub sources: Vec<SourceInfo>,
    /// Why the file cannot be built at all.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    pub build_error: Option<BuildError>,
    /// All of it with columns and fixes, for `kiln lint`; BuildKit's clients pass over it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

kiln_llb::setters!(LintResults {
    with_warnings(warnings: Vec<LintWarning>),
    with_sources(sources: Vec<SourceInfo>),
    with_build_error(build_error: impl Into<Option<BuildError>>),
    with_diagnostics(diagnostics: Vec<Diagnostic>),
});

/// Something doubtful.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LintWarning {
    /// The rule that says so.
    #[serde(rename = "ruleName")]
    pub rule: String,
    /// What the rule is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where to read more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What it is here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<Location>,
}

kiln_llb::setters!(LintWarning {
    with_rule(rule: impl Into<String>),
    with_description(description: impl Into<String>),
    with_url(url: impl Into<String>),
    with_detail(detail: impl Into<String>),
    with_location(location: impl Into<Option<Location>>),
});

/// Why a file cannot be built.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BuildError {
    /// What the user would read.
    pub message: String,
    /// Where it is.
    #[serde(serialize_with = "location")]
    pub location: Option<Location>,
}

kiln_llb::setters!(BuildError {
    with_message(message: impl Into<String>),
    with_location(location: impl Into<Option<Location>>),
});

fn infos<S: Serializer>(list: &[SourceInfo], serializer: S) -> Result<S::Ok, S::Error> {
    let list: Vec<Value> = list.iter().map(|info| info.0.to_json()).collect();
    null_if_empty(&list, serializer)
}

impl LintResults {
    /// The answer. Its status code is that of a check command: 1 if anything was found.
    pub fn to_result(&self) -> BuildResult<Ref> {
        let mut result = result(self, Some(self.to_text()), "1.0.0");
        let found = !self.warnings.is_empty() || self.build_error.is_some();
        let status = if found { "1" } else { "0" };
        result.metadata.insert("result.statuscode".to_owned(), status.into());
        result
    }

    /// The warnings for people, with the lines they are about.
    pub fn to_text(&self) -> String {
        let mut warnings: Vec<&LintWarning> = self.warnings.iter().collect();
        warnings.sort_by(|a, b| self.order(a, b));
        let mut text = String::new();
        for warning in warnings {
            text.push_str(&format!("\nWARNING: {}", warning.rule));
            if !warning.url.is_empty() {
                text.push_str(&format!(" - {}", warning.url));
            }
            text.push_str(&format!("\n{}\n", warning.detail));
            if let Some((info, ranges)) = self.place(warning) {
                excerpt(&mut text, info, ranges);
            }
        }
        text
    }

    /// The file and the ranges of a warning.
    fn place<'a>(
        &'a self,
        warning: &'a LintWarning,
    ) -> Option<(&'a SourceInfo, &'a [SourceRange])> {
        let location = warning.location.as_ref()?;
        let info = self.sources.get(location.source_index)?;
        Some((info, &location.ranges))
    }

    /// Warnings without a place first, then by file and line.
    fn order(&self, a: &LintWarning, b: &LintWarning) -> Ordering {
        match (self.place(a), self.place(b)) {
            (None, None) => a.rule.cmp(&b.rule),
            (None, _) => Ordering::Less,
            (_, None) => Ordering::Greater,
            (Some((first, _)), Some((second, _))) if first.filename() != second.filename() => {
                first.filename().cmp(second.filename())
            }
            (Some((_, first)), Some((_, second))) => match (first.first(), second.first()) {
                (None, None) => a.rule.cmp(&b.rule),
                (None, _) => Ordering::Less,
                (_, None) => Ordering::Greater,
                (Some(first), Some(second)) => span(first).0.cmp(&span(second).0),
            },
        }
    }
}

/// The first and the last line of a range.
fn span(range: &SourceRange) -> (i32, i32) {
    (range.start.line, range.start.line.max(range.end.line))
}

/// Shows lines of a file with some lines around them.
fn excerpt(text: &mut String, info: &SourceInfo, ranges: &[SourceRange]) {
    let data = String::from_utf8_lossy(info.data());
    let lines: Vec<&str> = data.split('\n').collect();
    let last = i32::try_from(lines.len()).unwrap_or(i32::MAX);
    let spans: Vec<(i32, i32)> = ranges.iter().map(span).collect();
    let start = spans.iter().map(|(first, _)| *first).min();
    let Some(start) = start.filter(|start| (1..=last).contains(start)) else { return };
    let end = spans.iter().map(|(_, end)| *end).max().unwrap_or(start).min(last);
    let (mut from, mut to) = (start, end);
    let around = if start == end { 4 } else { 2 };
    let mut added = 0;
    while added < around {
        if from > 1 {
            from -= 1;
            added += 1;
        }
        if to != last {
            to += 1;
            added += 1;
        }
        // So that it ends where there is nothing around.
        added += 1;
    }
    text.push_str(&format!("{}:{start}\n--------------------\n", info.filename()));
    for (number, line) in (from..=to).zip(lines.iter().skip(usize::try_from(from - 1).unwrap_or(0)))
    {
        let marked = spans.iter().any(|(first, end)| (*first..=*end).contains(&number));
        let mark = if marked { ">>>" } else { "   " };
        // Writing to a text cannot fail.
        writeln!(text, " {number:3} | {mark} {line}").unwrap_or_default();
    }
    text.push_str("--------------------\n");
}
