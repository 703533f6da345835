//! The end of a failed step's output, repeated where the reader looks last.

use super::amount::log_stamp;
use super::model::{State, Step};
use super::sanitize::{self, Colour};

const RULE: &str = "------\n";

/// A failed step's name and its newest `lines` of output between rules; empty if it did not fail.
pub(crate) fn text(step: &Step, lines: usize, colour: Colour) -> String {
    if !matches!(step.state(), State::Failed(_)) {
        return String::new();
    }
    let mut block = format!("{RULE} > {}:\n", step.name);
    for line in step.log.newest(lines) {
        let text = sanitize::strip(&line.text, colour);
        block += &format!("{} {text}\n", log_stamp(line.elapsed));
    }
    block + RULE
}
