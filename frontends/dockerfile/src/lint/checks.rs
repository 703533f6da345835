//! Checks of the whole file that need no variable to be known.

use std::collections::BTreeSet;

use super::{Linter, Violation};
use crate::lines::Lines;
use crate::stages::Stages;

/// Names that mean something else where a stage is named.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Words of a variable's name that speak of a secret.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words of a variable's name that say that it is none after all.
const PUBLIC: [&str; 3] = ["public", "file", "version"];

/// No comment may change what is told of the file as a whole.
const NO_COMMENTS: [&str; 0] = [];

/// Stages should have names of their own.
pub fn stage_names(file: &Stages, linter: &mut Linter) {
    let mut taken = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.from.name else { continue };
        if RESERVED.contains(&name.as_str()) {
            let violation = Violation::ReservedStageName { stage: name.clone() };
            linter.report(&NO_COMMENTS, stage.from.lines, &violation);
        }
        if !taken.insert(name) {
            let violation = Violation::DuplicateStageName { stage: name.clone() };
            linter.report(&NO_COMMENTS, stage.from.lines, &violation);
        }
    }
}

/// Whether most instructions are written in upper case, or as many as in lower case.
pub fn upper_case_is_usual(file: &Stages) -> bool {
    let (mut lower, mut upper) = (0_usize, 0_usize);
    for (name, _) in keywords(file) {
        if is_lower(name) {
            lower += 1;
        } else if is_upper(name) {
            upper += 1;
        }
    }
    upper >= lower
}

/// Instructions should be written in the case of most; of equally many, in upper case.
pub fn instruction_casing(file: &Stages, linter: &mut Linter) {
    let upper = upper_case_is_usual(file);
    let majority = if upper { "uppercase" } else { "lowercase" };
    for (name, lines) in keywords(file) {
        let fits = if upper { is_upper(name) } else { is_lower(name) };
        if !fits {
            let violation =
                Violation::ConsistentInstructionCasing { instruction: name.to_owned(), majority };
            linter.report(&NO_COMMENTS, lines, &violation);
        }
    }
}

fn keywords(file: &Stages) -> impl Iterator<Item = (&str, Lines)> {
    file.stages.iter().flat_map(|stage| {
        let instructions = stage.instructions.iter();
        std::iter::once((stage.from.keyword.as_str(), stage.from.lines))
            .chain(instructions.map(|each| (each.name.as_str(), each.lines)))
    })
}

// Names of instructions are plain letters.
fn is_lower(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_upper(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether the name of a variable, between underscores, has a word that speaks of a secret and none
/// that denies it.
pub fn is_secret(name: &str) -> bool {
    let has = |list: &[&str]| {
        name.split('_').any(|word| list.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&PUBLIC)
}
