//! `frontend.lint`: what is doubtful in a file, and why it cannot be built if it cannot.

use kiln_sdk::frontend::requests::{self, BuildError, LintResults};
use kiln_sdk::frontend::{Location, SourceInfo};

use super::{location, ranges};
use crate::lines::Lines;
use crate::lint::LintWarning;

/// The answer: warnings in the order they were heard of, and the error that ended the lowering with
/// its places, innermost first.
pub(crate) fn lint(
    source: SourceInfo,
    warnings: &[LintWarning],
    error: Option<(String, &[Lines])>,
) -> LintResults {
    LintResults::default()
        .with_warnings(warnings.iter().map(warning).collect())
        .with_sources(vec![source])
        .with_build_error(error.map(|(message, places)| {
            BuildError::default().with_message(message).with_location(Some(merged(places)))
        }))
}

fn warning(warning: &LintWarning) -> requests::LintWarning {
    requests::LintWarning::default()
        .with_rule(warning.rule.name.to_owned())
        .with_description(warning.rule.description.to_owned())
        .with_url(warning.rule.url.to_owned())
        .with_detail(warning.text.clone())
        .with_location(Some(location(warning.lines)))
}

/// Every line of all places once, in the order of the file.
fn merged(places: &[Lines]) -> Location {
    let mut lines: Vec<u32> = places.iter().flat_map(|place| place.each()).collect();
    lines.sort_unstable();
    lines.dedup();
    Location::new(lines.into_iter().flat_map(|line| ranges(Lines::one(line))))
}
