//! `frontend.lint`: what is doubtful in a file, and why it cannot be built if it cannot.

use kiln_sdk::frontend::pb;
use kiln_sdk::frontend::requests::{self, BuildError, LintResults};

use super::{location, ranges};
use crate::lines::Lines;
use crate::lint::LintWarning;

/// The answer: warnings in the order they were heard of, and the error that ended the lowering with
/// its places, innermost first.
pub(crate) fn lint(
    source: pb::SourceInfo,
    warnings: &[LintWarning],
    error: Option<(String, &[Lines])>,
) -> LintResults {
    LintResults {
        warnings: warnings.iter().map(warning).collect(),
        sources: vec![source],
        build_error: error
            .map(|(message, places)| BuildError { message, location: Some(merged(places)) }),
    }
}

fn warning(warning: &LintWarning) -> requests::LintWarning {
    requests::LintWarning {
        rule: warning.rule.name.to_owned(),
        description: warning.rule.description.to_owned(),
        url: warning.rule.url.to_owned(),
        detail: warning.text.clone(),
        location: Some(location(warning.lines)),
    }
}

/// Every line of all places once, in the order of the file.
fn merged(places: &[Lines]) -> pb::Location {
    let mut lines: Vec<u32> = places.iter().flat_map(|place| place.each()).collect();
    lines.sort_unstable();
    lines.dedup();
    let ranges = lines.into_iter().flat_map(|line| ranges(Lines::one(line))).collect();
    pb::Location { source_index: 0, ranges }
}
