//! A replay as a test of one line.

use std::fmt::Write as _;
use std::path::Path;

use kiln_frontend::Frontend;
use serde_json::Value;

use super::replay_blocking;
use crate::case::{Case, CaseError};
use crate::compare;

/// Replays a frontend against the case in a directory and compares its answer with the case's
/// `expected.json`.
///
/// A case without `expected.json` gets the answer as its expectation; the test fails that once, so
/// that somebody looks at it. Delete the file to record it anew.
///
/// # Panics
///
/// If the case cannot be used, if the answer is another one, or if there was none to compare with.
#[track_caller]
pub fn assert_replay(frontend: &dyn Frontend, dir: impl AsRef<Path>) {
    let dir = dir.as_ref();
    let (expected, actual) = match answers(frontend, dir) {
        Err(error) => panic!("the case cannot be used: {error}"),
        Ok((None, _)) => panic!(
            "{} had no expected.json; it has now: look at it and run the test again",
            dir.display()
        ),
        Ok((Some(expected), actual)) => (expected, actual),
    };
    let mismatches = compare(&expected, &actual);
    let mut shown = String::new();
    for mismatch in &mismatches {
        // Writing to a string cannot fail.
        let _ = write!(shown, "\n  {mismatch}");
    }
    assert!(mismatches.is_empty(), "{} is answered otherwise:{shown}", dir.display());
}

/// What is expected and what is answered; an answer that nobody expected is written down.
fn answers(frontend: &dyn Frontend, dir: &Path) -> Result<(Option<Value>, Value), CaseError> {
    let case = Case::load(dir)?;
    let actual = replay_blocking(frontend, &case)?;
    let expected = case.expected()?;
    if expected.is_none() {
        case.write_expected(&actual)?;
    }
    Ok((expected, actual))
}
