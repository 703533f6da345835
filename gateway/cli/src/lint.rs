//! Findings about build files as text, JSON and SARIF.
//!
//! What a frontend answers to `frontend.lint` comes in, documents go out. Nothing is read or written.

use std::collections::BTreeMap;

use kiln_document::{Diagnostic, Fix, Severity, Source};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The rule of what cannot be built.
const ERROR: &str = "error";

/// A file, and what there is to say about it.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Its text, after fixes.
    pub(crate) source: Source,
    /// What is left to say.
    pub(crate) findings: Vec<Finding>,
    /// How many fixes were applied.
    pub(crate) fixed: usize,
}

/// Something that is wrong or doubtful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule that says so.
    pub(crate) rule: String,
    /// What the rule is about.
    pub(crate) description: String,
    /// Where to read more.
    pub(crate) url: String,
    /// What it is here.
    pub(crate) message: String,
    /// The first line, from one; zero if it has no place.
    pub(crate) first_line: usize,
    /// The last line.
    pub(crate) last_line: usize,
    /// The file cannot be built.
    pub(crate) is_error: bool,
    /// What puts it right.
    pub(crate) fix: Option<Fix>,
    /// The same in the language's own words, with columns.
    pub(crate) diagnostic: Option<Diagnostic>,
}

impl Finding {
    /// What a frontend's answer says, in the order of the file. One made with Kiln says more than
    /// BuildKit's fields hold.
    pub(crate) fn of(results: &Value, source: &Source) -> Vec<Self> {
        let diagnostics = results["diagnostics"].as_array().into_iter().flatten();
        let diagnostics: Vec<Diagnostic> =
            diagnostics.filter_map(|one| Diagnostic::deserialize(one).ok()).collect();
        if !diagnostics.is_empty() {
            return diagnostics.iter().map(|one| Self::from_diagnostic(one, source)).collect();
        }
        let warnings = results["warnings"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut findings: Vec<Self> = warnings
            .map(|warning| {
                let (first_line, last_line) = lines(&warning["location"]);
                Self {
                    rule: text(&warning["ruleName"]),
                    description: text(&warning["description"]),
                    url: text(&warning["url"]),
                    message: text(&warning["detail"]),
                    first_line,
                    last_line,
                    ..Self::default()
                }
            })
            .collect();
        let error = &results["buildError"];
        if !error.is_null() {
            let (first_line, last_line) = lines(&error["location"]);
            let message = text(&error["message"]);
            let rule = ERROR.to_owned();
            findings.push(Self {
                rule,
                message,
                first_line,
                last_line,
                is_error: true,
                ..Self::default()
            });
        }
        findings.sort_by_key(|finding| finding.first_line);
        findings
    }

    /// A mistake that the language itself tells.
    pub(crate) fn from_diagnostic(found: &Diagnostic, source: &Source) -> Self {
        let lines = found.span.map(|span| source.range(span));
        let (first_line, last_line) = lines.map_or((0, 0), |(start, end)| (start.line, end.line));
        Self {
            rule: found.rule.clone().unwrap_or_else(|| ERROR.to_owned()),
            message: found.advice(),
            first_line,
            last_line,
            is_error: found.severity == Severity::Error,
            fix: found.fix.clone(),
            diagnostic: Some(found.clone()),
            ..Self::default()
        }
    }

    /// As people read it, but for its fix: in the language's own words, or with the whole line.
    fn shown(&self, source: &Source) -> Diagnostic {
        let mut shown = match (&self.diagnostic, self.is_error) {
            (Some(own), _) => own.clone(),
            (None, true) => Diagnostic::error(&self.message),
            (None, false) => Diagnostic::warning(&self.message),
        };
        if !self.is_error {
            shown.message = format!("{}: {}", self.rule, shown.message);
        }
        if self.diagnostic.is_none() && (1..=source.line_count()).contains(&self.first_line) {
            shown = shown.at(source.trimmed(source.line(self.first_line)));
        }
        shown
    }
}

/// The first and last line of a location.
fn lines(location: &Value) -> (usize, usize) {
    let number = |value: &Value| value["line"].as_u64().and_then(|line| usize::try_from(line).ok());
    let ranges = || location["ranges"].as_array().into_iter().flatten();
    let first = ranges().filter_map(|range| number(&range["start"])).min().unwrap_or(0);
    let last = ranges().filter_map(|range| number(&range["end"])).max().unwrap_or(0);
    (first, last.max(first))
}

/// For people.
pub(crate) fn as_text(all: &[Checked]) -> String {
    let mut text = String::new();
    for Checked { source, findings, fixed } in all {
        for finding in findings {
            let what = if finding.is_error { "error" } else { "warning" };
            let mut diagnostic = finding.shown(source);
            if let Some(fix) = &finding.fix {
                let hint = diagnostic.hint.take();
                diagnostic.notes.extend(hint);
                diagnostic = diagnostic.hint(format!("{} (--fix does)", fix.title));
            }
            if !finding.url.is_empty() {
                diagnostic =
                    diagnostic.note(format!("this {what} is explained at {}", finding.url));
            }
            text += &format!("{}\n\n", diagnostic.render(source));
        }
        if *fixed > 0 {
            let times = if *fixed == 1 { "fix" } else { "fixes" };
            text += &format!("{}: {fixed} {times} applied\n", source.name());
        }
    }
    text
}

/// A list of findings with their files.
pub(crate) fn as_json(all: &[Checked]) -> String {
    let findings = all.iter().flat_map(|checked| {
        checked.findings.iter().map(|finding| {
            json!({
                "file": checked.source.name(),
                "rule": finding.rule,
                "level": level(finding),
                "message": finding.message,
                "url": finding.url,
                "firstLine": finding.first_line,
                "lastLine": finding.last_line,
                "fix": finding.fix.as_ref().map(|fix| &fix.title),
            })
        })
    });
    format!("{:#}\n", Value::Array(findings.collect()))
}

fn level(finding: &Finding) -> &'static str {
    if finding.is_error { "error" } else { "warning" }
}

/// SARIF 2.1.0.
pub(crate) fn as_sarif(all: &[Checked]) -> String {
    let findings =
        || all.iter().flat_map(|checked| checked.findings.iter().map(move |f| (checked, f)));
    let rules: BTreeMap<&str, &Finding> =
        findings().map(|(_, finding)| (finding.rule.as_str(), finding)).collect();
    let ids: Vec<&str> = rules.keys().copied().collect();
    let described = rules.iter().map(|(id, rule)| {
        let mut described = json!({"id": id});
        if !rule.description.is_empty() {
            described["shortDescription"] = json!({"text": rule.description});
        }
        if !rule.url.is_empty() {
            described["helpUri"] = json!(rule.url);
        }
        described
    });
    let described: Vec<Value> = described.collect();
    let results = findings().map(|(checked, finding)| {
        let artifact = json!({"uri": uri(checked.source.name())});
        let mut place = json!({"artifactLocation": artifact});
        if finding.first_line > 0 {
            place["region"] =
                json!({"startLine": finding.first_line, "endLine": finding.last_line});
        }
        if let Some(span) = finding.diagnostic.as_ref().and_then(|own| own.span) {
            let (start, end) = checked.source.range(span);
            place["region"]["startColumn"] = json!(start.character);
            place["region"]["endColumn"] = json!(end.character);
        }
        let mut result = json!({
            "ruleId": finding.rule,
            "ruleIndex": ids.iter().position(|id| *id == finding.rule),
            "level": level(finding),
            "message": {"text": finding.message},
            "locations": [{"physicalLocation": place}],
        });
        if let Some(fix) = &finding.fix {
            let edits = fix.edits.iter().map(|edit| {
                let (start, end) = checked.source.range(edit.span);
                json!({
                    "deletedRegion": {
                        "startLine": start.line, "startColumn": start.character,
                        "endLine": end.line, "endColumn": end.character,
                    },
                    "insertedContent": {"text": edit.text},
                })
            });
            let changes =
                json!([{"artifactLocation": artifact, "replacements": edits.collect::<Vec<_>>()}]);
            result["fixes"] =
                json!([{"description": {"text": fix.title}, "artifactChanges": changes}]);
        }
        result
    });
    let results: Vec<Value> = results.collect();
    let driver = json!({"name": "kiln", "version": env!("CARGO_PKG_VERSION"), "rules": described});
    let run = json!({
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
    });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    format!("{log:#}\n")
}

/// A path as the reference of a URI.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use kiln_document::Span;

    use super::*;

    fn checked() -> Checked {
        let source = Source::new("a b/Dockerfile", "FROM a\nMAINTAINER ü\n");
        let finding = Finding {
            rule: "MaintainerDeprecated".into(),
            description: "use a label".into(),
            url: "https://example.com/rule".into(),
            message: "it is deprecated".into(),
            first_line: 2,
            last_line: 2,
            is_error: false,
            fix: Some(Fix::new("write a label", Span::new(7, 20), "LABEL a=ü")),
            ..Finding::default()
        };
        Checked { source, findings: vec![finding], fixed: 1 }
    }

    #[test]
    fn people_see_the_line_and_what_to_do() {
        let text = as_text(&[checked()]);
        assert!(text.ends_with('\n'), "{text}");
        insta::assert_snapshot!(text, @"
        warning: MaintainerDeprecated: it is deprecated
         --> a b/Dockerfile:2:1
          |
        2 | MAINTAINER ü
          | ^^^^^^^^^^^^
          |
          = note: this warning is explained at https://example.com/rule
          = help: write a label (--fix does)

        a b/Dockerfile: 1 fix applied
        ");
    }

    #[test]
    fn sarif_has_rules_places_and_fixes() {
        let log: Value = serde_json::from_str(&as_sarif(&[checked()])).unwrap();
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["helpUri"], "https://example.com/rule");
        let result = &run["results"][0];
        assert_eq!(result["ruleIndex"], 0);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/Dockerfile");
        assert_eq!(place["region"], json!({"startLine": 2, "endLine": 2}));
        let replaced = &result["fixes"][0]["artifactChanges"][0]["replacements"][0];
        assert_eq!(replaced["deletedRegion"]["endColumn"], 13);
    }

    #[test]
    fn a_language_that_says_more_than_lines_is_shown_in_its_own_words() {
        let source = Source::new("f.yaml", "a: 1\ncolour: 2\n");
        let span = Span::new(5, 11);
        let found = Diagnostic::error("there is no key `colour`").at(span).label("a typo");
        let found = found.hint("did you mean `color`?");
        let fixed = found.clone().fixed_by(Fix::word(&source, span, "colour", "color"));
        let answer =
            json!({"buildError": {"message": "x"}, "diagnostics": [found, fixed, {"message": 7}]});
        let findings = Finding::of(&answer, &source);
        let text =
            as_text(&[Checked { source: source.clone(), findings: findings.clone(), fixed: 0 }]);
        assert!(text.ends_with('\n'), "{text}");
        insta::assert_snapshot!(text, @"
        error: there is no key `colour`
         --> f.yaml:2:1
          |
        2 | colour: 2
          | ^^^^^^ a typo
          |
          = help: did you mean `color`?

        error: there is no key `colour`
         --> f.yaml:2:1
          |
        2 | colour: 2
          | ^^^^^^ a typo
          |
          = note: did you mean `color`?
          = help: change to `color` (--fix does)
        ");
        let log = as_sarif(&[Checked { source, findings, fixed: 0 }]);
        let log: Value = serde_json::from_str(&log).unwrap();
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        let expected = json!({"startLine": 2, "endLine": 2, "startColumn": 1, "endColumn": 7});
        assert_eq!(place["region"], expected);
    }

    #[test]
    fn an_answer_that_is_none_says_nothing() {
        for answer in [json!(null), json!({"warnings": 7}), json!({"warnings": [null]})] {
            assert!(Finding::of(&answer, &Source::new("f", "")).len() <= 1);
        }
    }
}
